"""The control plane: JSON-RPC 2.0 between the supervisor and everybody it commands.

In reading order: `messages` (what is on the wire), `framing` (one JSON document per line over a Unix stream),
`memory` (the same within one process), `dispatcher` (requests, notifications, cancellation, end), `methods` (who may
ask whom for what).
"""
