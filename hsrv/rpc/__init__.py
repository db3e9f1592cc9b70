"""The control plane: JSON-RPC 2.0 between the supervisor and its children, and between operators and the supervisor.

In reading order: `messages` (the wire format), `framing` (one JSON document per line over a Unix stream), `memory` (the
same within one process), `dispatcher` (requests, cancellation, end of the channel), `inbound` (requests of the peer),
`meta` (the sender's log context), `credentials` (of the peer), `methods` (between supervisor and children), `operator`
(between operator and supervisor), `calls` (typed client and server of these tables), `docs` (docs/control.md).
"""
