"""What observers are told of connections, requests and streams: the port. For collectors: `hsrv.http.emitter`.

A process without collectors has no observer. Its methods are called with the lock of connections held.
"""

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from hsrv.common.asgi import Application
from hsrv.common.terms import EndReason
from hsrv.events.types import Move, Source
from hsrv.http.request.exchange import Exchange
from hsrv.ipc.messages import AnyHandoff, Origin, WebSocketHandoff
from hsrv.net.conn import Conn, Sender

Stamp = tuple[float, float, Source]
"""When, and in which process."""

M = TypeVar("M", bound=AnyHandoff)


class Observer(Protocol):
    """Decides nothing. The first event of a connection names it, and the name goes wherever it goes."""

    # connections

    def opened(self, origin: Origin) -> Origin:
        """A connection was accepted: its origin, with a name."""
        ...

    def adopted(self, message: M) -> M:
        """One came from another process: the message, with its name."""
        ...

    def stamp(self) -> Stamp:
        """The present moment: for `sent`, since the receiver may be faster than the sender."""
        ...

    def sent(self, stamp: Stamp, origin: Origin, kind: Move) -> None:
        """One went to another process. `stamp`: of before it was sent."""
        ...

    def parked(self, origin: Origin) -> None:
        """One stands in the parking lot."""
        ...

    def closed(self, conn: Conn, reason: EndReason, requests: int) -> None:
        """One is closed, after so many requests."""
        ...

    # requests

    def called(self, exchange: Exchange, call: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        """`call`, to be run by a task; before its first step it reports that the application is called."""
        ...

    def response_started(self, exchange: Exchange) -> None:
        """Its first part is written."""
        ...

    def stream_found(self, exchange: Exchange) -> None:
        """The response turned out to be long-lived."""
        ...

    def ended(self, exchange: Exchange, reason: EndReason) -> None:
        """The response is complete, or will not be."""
        ...

    def refused(self, origin: Origin, status: int, why: str) -> None:
        """A request or connection is answered with an error of the server."""
        ...

    # WebSockets

    def calling(self, app: Application, message: WebSocketHandoff) -> Application:
        """`app`, which tells when it is called."""
        ...

    def accepted(self, message: WebSocketHandoff) -> None:
        """The application accepted."""
        ...

    def websocket_closed(
        self,
        conn: Conn,
        message: WebSocketHandoff,
        reason: EndReason,
        code: int,
        *,
        status: int,
        since: float,
    ) -> None:
        """It is over. `since`: time.monotonic() when it began."""
        ...


def give(conn: Conn, sender: Sender, packet: bytes, kind: Move, observer: Observer | None) -> None:
    """`Conn.give`, and it is told. Raises what that raises."""
    if observer is None:
        conn.give(sender, packet)
        return
    stamp = observer.stamp()
    conn.give(sender, packet)
    observer.sent(stamp, conn.origin, kind)
