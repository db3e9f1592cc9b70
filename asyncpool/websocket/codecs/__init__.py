"""The frames of a WebSocket: bytes to messages and back (RFC 6455 section 5, RFC 7692). Pure.

In reading order: `events` (the interface of a codec), `codec` (the choice of one), `frames` (the usual one), `partial`
(frames and messages received in part), `deflate` (compression), `wsproto` (the reference codec).
"""
