"""The two lifecycles of a WebSocket: of the application's call and of the connection. Pure.

They are separate because the application goes on after the connection is lost, and the connection (closing
handshake, last bytes in flight) after the application returned.

    AppState:         CONNECTING ─► ACCEPTED ─► ENDED
                          └───────► RESPONDING ───┘
    ConnectionState:  UNANSWERED ─► OPEN ─► CLOSING ─► LINGERING ─► CLOSED
                          └──────► RESPONDING ───────────┘
"""

from enum import Enum, auto
from typing import Final

from hsrv.common.tables import Table


class AppState(Enum):
    """By the messages that the application has sent (ASGI WebSocket 2.5)."""

    CONNECTING = auto()
    """Nothing yet."""
    ACCEPTED = auto()
    RESPONDING = auto()
    """It rejects the handshake with a response of its own, which is not complete."""
    ENDED = auto()
    """It closed, or completed its response: nothing may follow."""


class AppMessage(Enum):
    """A message of the application."""

    ACCEPT = auto()
    SEND = auto()
    CLOSE = auto()
    RESPOND = auto()
    BODY = auto()
    LAST_BODY = auto()


APP_STATES: Final[Table[AppState, AppMessage]] = {
    AppState.CONNECTING: {
        AppMessage.ACCEPT: AppState.ACCEPTED,
        AppMessage.CLOSE: AppState.ENDED,
        AppMessage.RESPOND: AppState.RESPONDING,
    },
    AppState.ACCEPTED: {AppMessage.SEND: AppState.ACCEPTED, AppMessage.CLOSE: AppState.ENDED},
    AppState.RESPONDING: {AppMessage.BODY: AppState.RESPONDING, AppMessage.LAST_BODY: AppState.ENDED},
    AppState.ENDED: {},
}


class ConnectionState(Enum):
    """Of the connection (RFC 6455 sections 4 and 7)."""

    UNANSWERED = auto()
    """The upgrade request has no answer yet."""
    RESPONDING = auto()
    """An ordinary HTTP response is being sent, in parts."""
    OPEN = auto()
    CLOSING = auto()
    """Our close frame is sent, the peer's is awaited; data that still comes is dropped."""
    LINGERING = auto()
    """Nothing more will be sent: our last bytes are flushed, then the peer's end-of-file is awaited."""
    CLOSED = auto()


class ConnectionEvent(Enum):
    """A transition of the connection."""

    ACCEPTED = auto()
    RESPONSE_BEGUN = auto()
    CLOSE_SENT = auto()
    FINISHED = auto()
    """Nothing more will be written: both close frames are exchanged, the peer violated the protocol and
    was told, or an HTTP response is complete."""
    LOST = auto()
    """The socket is closed, for whichever reason."""


CONNECTION_STATES: Final[Table[ConnectionState, ConnectionEvent]] = {
    ConnectionState.UNANSWERED: {
        ConnectionEvent.ACCEPTED: ConnectionState.OPEN,
        ConnectionEvent.RESPONSE_BEGUN: ConnectionState.RESPONDING,
        ConnectionEvent.FINISHED: ConnectionState.LINGERING,
        ConnectionEvent.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.RESPONDING: {
        ConnectionEvent.FINISHED: ConnectionState.LINGERING,
        ConnectionEvent.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.OPEN: {
        ConnectionEvent.CLOSE_SENT: ConnectionState.CLOSING,
        ConnectionEvent.FINISHED: ConnectionState.LINGERING,
        ConnectionEvent.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSING: {
        ConnectionEvent.FINISHED: ConnectionState.LINGERING,
        ConnectionEvent.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.LINGERING: {ConnectionEvent.LOST: ConnectionState.CLOSED},
    ConnectionState.CLOSED: {},
}
