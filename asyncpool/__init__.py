"""The async pool: long-lived streams.

In reading order: `main` (the process), `pool` (its streams and their end), `websocket` (one WebSocket: frames to ASGI
and back), `ws_codec` (which codec), `ws_frames` (the usual one: bytes to messages and back). HTTP streams are
`hsrv.http.connection`, the same as in a worker.
"""
