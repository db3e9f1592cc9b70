"""One WebSocket: from the upgrade request to the last close frame.

In reading order: `session` (the application's call), `handshake` (the answer to the upgrade), `states` (the two
lifecycles), `settings` (what bounds them), `link` (the connection: frames and the end), `awaited` (pings, and what the
peer is late with), `inbox` (messages not yet taken), `memory` (what all messages of a pool occupy), `aftermath` (errors
that are none, after the end), `events` (what a codec is), `codec` (which one), `frames` (the usual one: bytes to
messages and back), `deflate` (compression), `wsproto` (the reference codec). All but the first and `link` know no
socket.
"""
