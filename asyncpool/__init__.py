"""The async pool: long-lived streams.

In reading order: `main` (the process), `pool` (its streams and their end), `claims` (requests that asked for a stream
and were none), `parking` (idle connections); `websocket` is a folder.
HTTP streams are `hsrv.http.connection`, the same as in a worker.
"""
