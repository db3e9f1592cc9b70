"""The async pool: long-lived streams.

In reading order: `main` (the process), `pool` (its streams and their end), `claims` (requests that asked for a stream
and were none), `parking` (idle connections), `observed` (the pool where collectors listen); `websocket` is a folder.
HTTP streams are `hsrv.http.connection`, the same as in a worker.
"""
