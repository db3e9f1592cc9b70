"""A host that tells collectors what happens. It takes the place of the plain one only in a process that has some.

Owns the making of events out of what connections report to their host. Promises: the first event of a connection
names it, and the name goes wherever it goes. Must not decide anything.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from hsrv.common.asgi import Scope
from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason
from hsrv.events.collectors import Collectors
from hsrv.events.types import (
    ConnectionClosed,
    ConnectionOpened,
    Event,
    HandoffAdopted,
    HandoffSent,
    Move,
    RequestFailed,
    RequestRefused,
    RequestStarted,
    ResponseCompleted,
    ResponseStarted,
    Source,
    StreamClosed,
    StreamKind,
    StreamOpened,
)
from hsrv.http.connection import HTTPConnection
from hsrv.http.exchange import Exchange
from hsrv.http.host import HTTPHost
from hsrv.ipc.messages import AnyHandoff, ConnectionHandoff, Origin, ParkedHandoff, StreamingHandoff, Trace
from hsrv.net.conn import Conn

Stamp = tuple[float, float, Source]

FIELDS: Final = (b"user-agent", b"tracestate")
"""What events tell of the headers, beside the trace."""


def move_of(message: AnyHandoff) -> Move:
    """Why a connection came."""
    if isinstance(message, StreamingHandoff):
        return "request"
    if isinstance(message, ConnectionHandoff):
        return "adopt"
    return "parked" if isinstance(message, ParkedHandoff) else "websocket"


def route_of(scope: Scope) -> str:
    """What the framework calls the path: FastAPI leaves its route in the scope, Litestar the template. "" for
    others."""
    found = getattr(scope.get("route"), "path", None) or scope.get("path_template")
    return found if isinstance(found, str) else ""


def fields_of(head: RequestHead) -> list[str]:
    """The values of FIELDS, "" for those that are not there."""
    found = {name: value for name, value in head.headers if name in FIELDS}
    return [found.get(name, b"").decode("latin-1") for name in FIELDS]


class Teller:
    """Makes events, and gives them to the collectors of this process."""

    def __init__(self, collectors: Collectors) -> None:
        self.emit: Callable[[Event, Trace | None], None] = collectors.emit
        self._emit_here: Callable[[Event], None] = collectors.emit_here
        self.stamp: Callable[[], Stamp] = collectors.stamp
        self._new_connection = collectors.new_connection

    def named(self, origin: Origin) -> Origin:
        """With a name for the connection, unless it has one."""
        return origin if origin.connection_id else replace(origin, connection_id=self._new_connection())

    def opened(self, origin: Origin) -> None:
        id_ = origin.connection_id
        opened = ConnectionOpened(*self.stamp(), connection=id_, client=origin.client, server=origin.server)
        self.emit(opened, None)

    def sent(self, stamp: Stamp, origin: Origin, kind: Move) -> None:
        """`stamp`: of before it was sent."""
        self.emit(HandoffSent(*stamp, connection=origin.connection_id, kind=kind), None)

    def adopted(self, origin: Origin, kind: Move) -> None:
        self.emit(HandoffAdopted(*self.stamp(), connection=origin.connection_id, kind=kind), None)

    def closed(self, conn: Conn, reason: EndReason, requests: int) -> None:
        id_ = conn.origin.connection_id
        self.emit(
            ConnectionClosed(*self.stamp(), connection=id_, reason=str(reason), requests=requests), None
        )

    def started(self, origin: Origin, head: RequestHead, trace: Trace, scope: Scope) -> None:
        """In the context of the request, before its application is called."""
        stamp = self.stamp()
        user_agent, tracestate = fields_of(head)
        self._emit_here(
            RequestStarted(
                *stamp,
                connection=origin.connection_id,
                request=trace.request_id,
                kind=scope["type"],
                method=head.method,
                path=head.path,
                scheme=scope["scheme"],
                http_version=head.http_version,
                client=scope["client"],
                user_agent=user_agent,
                traceparent=trace.traceparent,
                tracestate=tracestate,
                waited=stamp[1] - trace.received_at if trace.received_at else 0.0,
            )
        )

    def stream_opened(self, origin: Origin, trace: Trace, kind: StreamKind) -> None:
        id_ = origin.connection_id
        self.emit(StreamOpened(*self.stamp(), connection=id_, request=trace.request_id, kind=kind), trace)

    def stream_closed(
        self,
        origin: Origin,
        trace: Trace,
        kind: StreamKind,
        reason: EndReason,
        *,
        since: float,
        code: int = 0,
    ) -> None:
        stamp = self.stamp()
        self.emit(
            StreamClosed(
                *stamp,
                connection=origin.connection_id,
                request=trace.request_id,
                kind=kind,
                reason=str(reason),
                seconds=stamp[1] - since,
                code=code,
            ),
            trace,
        )

    def ended(
        self,
        origin: Origin,
        head: RequestHead,
        trace: Trace,
        reason: EndReason,
        *,
        status: int,
        route: str,
        since: float,
        body_bytes: int,
    ) -> None:
        """The response is complete, or will not be."""
        stamp = self.stamp()
        facts: dict[str, Any] = {
            "connection": origin.connection_id,
            "request": trace.request_id,
            "status": status,
            "method": head.method,
            "path": head.path,
            "route": route,
            "seconds": stamp[1] - since,
            "body_bytes": body_bytes,
        }
        if reason is EndReason.COMPLETED:
            self.emit(ResponseCompleted(*stamp, **facts), trace)
        else:
            self.emit(RequestFailed(*stamp, reason=str(reason), **facts), trace)

    def refused(self, origin: Origin, status: int, why: str) -> None:
        id_ = origin.connection_id
        self.emit(RequestRefused(*self.stamp(), connection=id_, status=status, why=why), None)


class ObservedHost(HTTPHost):
    """What workers and pools tell alike. Comes before their class among the bases."""

    tell: Teller

    async def call(self, exchange: Exchange) -> None:
        # Within the coroutine: what collectors put into context variables is the request's own.
        with self.turn:  # `rescue` tells from another thread
            self.tell.started(exchange.origin, exchange.head, exchange.trace, exchange.scope)
        await super().call(exchange)

    def response_begun(self, connection: HTTPConnection, exchange: Exchange) -> None:
        origin, status = exchange.origin, exchange.encoder.status
        trace, id_ = exchange.trace, origin.connection_id
        stamp = self.tell.stamp()
        begun = ResponseStarted(*stamp, connection=id_, request=trace.request_id, status=status)
        self.tell.emit(begun, trace)
        super().response_begun(connection, exchange)

    def stream_found(self, exchange: Exchange, pattern: str) -> None:
        self.tell.stream_opened(exchange.origin, exchange.trace, _kind_of(exchange))
        super().stream_found(exchange, pattern)

    def finished(self, connection: HTTPConnection, exchange: Exchange, reason: EndReason) -> None:
        if exchange.scope:  # else the application was never called
            self._tell_end(exchange, reason)
        super().finished(connection, exchange, reason)

    def _tell_end(self, exchange: Exchange, reason: EndReason) -> None:
        origin, trace, since = exchange.origin, exchange.trace, exchange.started_at
        if exchange.is_stream:
            self.tell.stream_closed(origin, trace, _kind_of(exchange), reason, since=since)
        self.tell.ended(
            origin,
            exchange.head,
            trace,
            reason,
            status=exchange.encoder.status,
            route=route_of(exchange.scope),
            since=since,
            body_bytes=exchange.encoder.body_bytes,
        )

    def refused(self, connection: HTTPConnection, error: ClientError, cause: EndReason) -> None:
        self.tell.refused(connection.conn.origin, error.status, str(error))
        super().refused(connection, error, cause)

    def shed(self, connection: HTTPConnection, why: str, cause: EndReason = EndReason.SHED) -> None:
        self.tell.refused(connection.conn.origin, 503, why)
        super().shed(connection, why, cause)

    def closed(self, connection: HTTPConnection, reason: EndReason) -> None:
        if reason is not EndReason.HANDED_OFF:  # who sends it away tells
            self.tell.closed(connection.conn, reason, connection.served)
        super().closed(connection, reason)


def _kind_of(exchange: Exchange) -> StreamKind:
    return "event-stream" if exchange.encoder.event_stream else "http"
