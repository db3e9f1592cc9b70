"""What bounds each WebSocket of a pool: its options, and the constants beside them. Pure."""

from typing import Final

import msgspec

from hsrv.asyncpool.websocket.codecs.events import POLICY_VIOLATION, Close

HANDSHAKE_TIMEOUT: Final = 60.0
"""Seconds for the application to answer the upgrade request, as a request has by default: before there is a WebSocket,
neither pings nor its timeouts bound it, and a client that hangs up would leave the call behind for ever."""

EARLY_LIMIT: Final = 64 * 1024
"""Bytes of frames kept before the application has accepted. At this limit reading stops."""

FRAMES_PER_TURN: Final = 64
"""Frames of one connection that are interpreted in a turn of the loop: some 0.1 ms. A read may bring 10,900."""

SHARE: Final = 0.0005
"""Seconds of a turn for one connection whose frames take long: large ones, and those to be inflated."""

CROWD: Final = 32
"""Connections in the backlog from which on those whose peers have closed the connection are not served: clients
that connect, send what is expensive, and leave could otherwise add work faster than it is done."""

FLOOD: Final = 1000
"""Control frames and empty ones that a peer may send between two looks, a second apart, beyond its messages: each is
worth nothing to the application and some work to us. Clients send one ping in many seconds; one that sends a ping with
each message never comes near, however many these are."""

FLOODED: Final = Close(POLICY_VIOLATION, "too many frames without content")


class WebSocketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options. Times in seconds."""

    codec: str
    """`hsrv.asyncpool.websocket.codecs.codec` knows it by this name."""
    max_message: int
    """Bytes of one received message."""
    max_inflated: int
    """The same of one that came compressed."""
    message_timeout: float
    """From a message's first frame to its last; 0: any time."""
    ping_interval: float
    """0: no pings."""
    ping_timeout: float
    """0: an unanswered ping is no reason to end."""
    per_message_deflate: bool
    send_timeout: float
    """A peer that takes nothing of what waits for so long is cut."""
    close_timeout: float
    """How long the peer's close frame, and then its end of the connection, is awaited."""
