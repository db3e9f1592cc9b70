"""The two lifecycles of a WebSocket: what the application has said, and where the connection stands. Pure.

They are separate because the application goes on after the connection is lost, and the connection (closing
handshake, last bytes on their way) after the application returned.

    Said:  CONNECTING ─► ACCEPTED ─► ENDED        Wire:  UNANSWERED ─► OPEN ─► CLOSING ─► LINGERING ─► CLOSED
                └──────► RESPONDING ───┘                      └──────► RESPONDING ──────────┘
"""

from enum import Enum, auto
from typing import Final

from hsrv.common.tables import Table


class Said(Enum):
    """What the application has said (ASGI WebSocket 2.5)."""

    CONNECTING = auto()
    """Nothing yet."""
    ACCEPTED = auto()
    RESPONDING = auto()
    """It denies the handshake with a response of its own, which is not complete."""
    ENDED = auto()
    """It closed, or completed its denial: nothing may follow."""


class Say(Enum):
    """A message of the application."""

    ACCEPT = auto()
    SEND = auto()
    CLOSE = auto()
    RESPOND = auto()
    BODY = auto()
    LAST_BODY = auto()


SAID: Final[Table[Said, Say]] = {
    Said.CONNECTING: {Say.ACCEPT: Said.ACCEPTED, Say.CLOSE: Said.ENDED, Say.RESPOND: Said.RESPONDING},
    Said.ACCEPTED: {Say.SEND: Said.ACCEPTED, Say.CLOSE: Said.ENDED},
    Said.RESPONDING: {Say.BODY: Said.RESPONDING, Say.LAST_BODY: Said.ENDED},
    Said.ENDED: {},
}


class Wire(Enum):
    """Where the connection stands (RFC 6455 sections 4 and 7)."""

    UNANSWERED = auto()
    """The upgrade request has no answer yet."""
    RESPONDING = auto()
    """An ordinary HTTP response is on its way, in parts."""
    OPEN = auto()
    CLOSING = auto()
    """Our close frame is sent, the peer's is awaited; data that still comes is dropped."""
    LINGERING = auto()
    """All is said: our last bytes are flushed, then the end of the peer's side is awaited."""
    CLOSED = auto()


class Turn(Enum):
    """What happened to the connection."""

    ACCEPTED = auto()
    RESPONSE_BEGUN = auto()
    CLOSE_SENT = auto()
    FINISHED = auto()
    """Nothing more will be written: both close frames are exchanged, the peer broke the protocol and was
    told, or an HTTP response is complete."""
    LOST = auto()
    """The socket is closed, for whichever reason."""


WIRE: Final[Table[Wire, Turn]] = {
    Wire.UNANSWERED: {
        Turn.ACCEPTED: Wire.OPEN,
        Turn.RESPONSE_BEGUN: Wire.RESPONDING,
        Turn.FINISHED: Wire.LINGERING,
        Turn.LOST: Wire.CLOSED,
    },
    Wire.RESPONDING: {Turn.FINISHED: Wire.LINGERING, Turn.LOST: Wire.CLOSED},
    Wire.OPEN: {Turn.CLOSE_SENT: Wire.CLOSING, Turn.FINISHED: Wire.LINGERING, Turn.LOST: Wire.CLOSED},
    Wire.CLOSING: {Turn.FINISHED: Wire.LINGERING, Turn.LOST: Wire.CLOSED},
    Wire.LINGERING: {Turn.LOST: Wire.CLOSED},
    Wire.CLOSED: {},
}
