"""The async pool: long-lived streams.

In reading order: `main` (the process), `pool` (its streams and their end), `websocket` (one WebSocket: frames to ASGI
and back), `ws_codec` (bytes to frames and back). HTTP streams are `hsrv.http.connection`, the same as in a worker.
"""
