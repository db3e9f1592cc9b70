"""The control plane: JSON-RPC 2.0 between the supervisor and everybody it commands.

In reading order: `messages` (what is on the wire), `framing` (one JSON document per line over a Unix stream), `memory`
(the same within one process), `dispatcher` (requests, cancellation, the end), `inbound` (what the peer asks of us),
`meta` (the sender's log context), `credentials` (who the peer is), `methods` (what the supervisor and its children
say), `operator` (what an operator asks the supervisor), `calls` (asking and serving by these tables), `docs`
(docs/control.md).
"""
