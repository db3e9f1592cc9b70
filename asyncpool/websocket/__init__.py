"""One WebSocket: from the upgrade request to the last close frame. `codecs`: its frames.

In reading order: `session` (the application's call), `appmessages` (what the application sends), `handshake` (the
answer to the upgrade), `states` (the two lifecycles), `settings` (limits and options), `link` (the connection: sending,
pings, the end), `reading` (its other half: receiving), `awaited` (pings and deadlines for the peer), `inbox` (messages
not yet taken), `memory` (the memory that all messages of a pool occupy), `aftermath` (errors after the end that need no
report). Only `session`, `link` and `reading` use a socket.
"""
