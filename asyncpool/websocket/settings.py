"""The limits of each WebSocket of a pool: options and constants. Pure."""

from typing import Final

import msgspec

from hsrv.asyncpool.websocket.codecs.events import POLICY_VIOLATION, Close

HANDSHAKE_TIMEOUT: Final = 60.0
"""Seconds for the application to answer the upgrade request, like the default for a request: until then neither pings
nor other timeouts apply, and the call would outlive a client that has gone."""

EARLY_LIMIT: Final = 64 * 1024
"""Bytes of frames kept before the application has accepted. At this limit reading stops."""

FRAMES_PER_TURN: Final = 64
"""Frames of one connection interpreted in one turn of the loop: about 0.1 ms. One read may return 10,900."""

SHARE: Final = 0.0005
"""Seconds per turn for one connection whose frames take long: large or compressed ones."""

CROWD: Final = 32
"""Length of the backlog from which on connections are dropped whose peers have closed without a close frame: otherwise
clients that connect, send expensive frames and leave could create work faster than it is done."""

FLOOD: Final = 1000
"""Control and empty frames that a peer may send between two sweeps, a second apart, in excess of its messages: they are
work for the server and useless to the application. Ordinary clients send a ping every few seconds; even a ping with
each message stays below the limit."""

FLOODED: Final = Close(POLICY_VIOLATION, "too many frames without content")


class WebSocketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options. Times in seconds."""

    codec: str
    """A name of `hsrv.asyncpool.websocket.codecs.codec`."""
    max_message: int
    """Bytes of one received message."""
    max_inflated: int
    """The same for one that came compressed."""
    message_timeout: float
    """From a message's first frame to its last; 0: any time."""
    ping_interval: float
    """0: no pings."""
    ping_timeout: float
    """0: an unanswered ping is no reason to end."""
    per_message_deflate: bool
    send_timeout: float
    """A peer that reads nothing of what waits for so long is cut off."""
    close_timeout: float
    """How long the peer's close frame, and then its end of the connection, is awaited."""
