"""The observer that makes events (`hsrv.events`) and gives them to the collectors of its process.

Promises: the first event of a connection names it, and the name goes wherever it goes. Never compiled: it runs in
coroutines.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from msgspec.structs import replace

from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.request import Address, RequestHead
from hsrv.common.terms import EndReason
from hsrv.events.collectors import Collectors
from hsrv.events.types import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionParked,
    Event,
    HandoffAdopted,
    HandoffSent,
    Move,
    RequestFailed,
    RequestRefused,
    RequestStarted,
    ResponseCompleted,
    ResponseStarted,
    StreamClosed,
    StreamKind,
    StreamOpened,
)
from hsrv.http.observer import M, Observer, Stamp
from hsrv.http.request.exchange import Exchange
from hsrv.ipc.messages import (
    AnyHandoff,
    ConnectionHandoff,
    Origin,
    ParkedHandoff,
    RequestHandoff,
    StreamingHandoff,
    Trace,
    WebSocketHandoff,
)
from hsrv.net.conn import Conn
from hsrv.system.realthreads import RLock

FIELDS: Final = (b"user-agent", b"tracestate")
"""What events tell of the headers, beside the trace."""


def move_of(message: AnyHandoff) -> Move:
    """Why a connection came."""
    if isinstance(message, StreamingHandoff):
        return "request"
    if isinstance(message, ConnectionHandoff | RequestHandoff):
        return "adopt"
    return "parked" if isinstance(message, ParkedHandoff) else "websocket"


def route_of(scope: Scope) -> str:
    """What the framework calls the path: FastAPI leaves its route in the scope, Litestar the template, Flask and Bottle
    what they matched in the environ. "" for others."""
    found = getattr(scope.get("route"), "path", None) or scope.get("path_template")
    if found is None and "wsgi.version" in scope:
        found = scope.get("hsrv.route")
    return found if isinstance(found, str) else ""


def facts_of(scope: Scope) -> tuple[Literal["http", "websocket"], str, Address | None]:
    """Kind, scheme and client of a request, of a scope or an environ."""
    if "wsgi.version" in scope:
        host = scope["REMOTE_ADDR"]
        return "http", scope["wsgi.url_scheme"], (host, int(scope["REMOTE_PORT"])) if host else None
    return scope["type"], scope["scheme"], scope["client"]


def fields_of(head: RequestHead) -> list[str]:
    """The values of FIELDS, "" for those that are not there."""
    found = {name: value for name, value in head.headers if name in FIELDS}
    return [found.get(name, b"").decode("latin-1") for name in FIELDS]


class EventEmitter(Observer):
    """Makes events, and gives them to the collectors of this process."""

    def __init__(self, collectors: Collectors, turn: RLock) -> None:
        """`turn`: the lock of connections."""
        self._turn = turn
        self.emit: Callable[[Event, Trace | None], None] = collectors.emit
        self._emit_here: Callable[[Event], None] = collectors.emit_here
        self._stamp: Callable[[], Stamp] = collectors.stamp
        self._new_connection = collectors.new_connection
        self._called: dict[str, Scope] = {}
        """The scopes of WebSockets, from the call of the application on, by connection."""

    # connections

    def _named(self, origin: Origin) -> Origin:
        """With a name for the connection, unless it has one."""
        return origin if origin.connection_id else replace(origin, connection_id=self._new_connection())

    def opened(self, origin: Origin) -> Origin:
        origin = self._named(origin)
        id_ = origin.connection_id
        opened = ConnectionOpened(*self._stamp(), connection=id_, client=origin.client, server=origin.server)
        self.emit(opened, None)
        return origin

    def adopted(self, message: M) -> M:
        origin = self._named(message.origin)
        id_, kind = origin.connection_id, move_of(message)
        self.emit(HandoffAdopted(*self._stamp(), connection=id_, kind=kind), None)
        return replace(message, origin=origin)

    def stamp(self) -> Stamp:
        return self._stamp()

    def parked(self, origin: Origin) -> None:
        self.emit(ConnectionParked(*self._stamp(), connection=origin.connection_id), None)

    def sent(self, stamp: Stamp, origin: Origin, kind: Move) -> None:
        self.emit(HandoffSent(*stamp, connection=origin.connection_id, kind=kind), None)

    def closed(self, conn: Conn, reason: EndReason, requests: int) -> None:
        id_ = conn.origin.connection_id
        self.emit(
            ConnectionClosed(*self._stamp(), connection=id_, reason=str(reason), requests=requests), None
        )

    # requests

    async def called(self, exchange: Exchange, call: Coroutine[Any, Any, None]) -> None:
        # Within the coroutine: what collectors put into context variables is the request's own.
        with self._turn:  # `rescue` tells from another thread
            self._started(exchange.origin, exchange.head, exchange.trace, exchange.scope)
        await call

    def _started(self, origin: Origin, head: RequestHead, trace: Trace, scope: Scope) -> None:
        """In the context of the request, before its application is called."""
        stamp = self._stamp()
        user_agent, tracestate = fields_of(head)
        kind, scheme, client = facts_of(scope)
        self._emit_here(
            RequestStarted(
                *stamp,
                connection=origin.connection_id,
                request=trace.request_id,
                kind=kind,
                method=head.method,
                path=head.path,
                scheme=scheme,
                http_version=head.http_version,
                client=client,
                user_agent=user_agent,
                traceparent=trace.traceparent,
                tracestate=tracestate,
                waited=stamp[1] - trace.received_at if trace.received_at else 0.0,
            )
        )

    def _stream_opened(self, origin: Origin, trace: Trace, kind: StreamKind) -> None:
        id_ = origin.connection_id
        self.emit(StreamOpened(*self._stamp(), connection=id_, request=trace.request_id, kind=kind), trace)

    def _stream_closed(
        self,
        origin: Origin,
        trace: Trace,
        kind: StreamKind,
        reason: EndReason,
        *,
        since: float,
        code: int = 0,
    ) -> None:
        stamp = self._stamp()
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

    def _ended(
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
        stamp = self._stamp()
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
        self.emit(RequestRefused(*self._stamp(), connection=id_, status=status, why=why), None)

    def response_started(self, exchange: Exchange) -> None:
        id_, status, trace = exchange.origin.connection_id, exchange.encoder.status, exchange.trace
        stamp = self._stamp()
        self.emit(ResponseStarted(*stamp, connection=id_, request=trace.request_id, status=status), trace)

    def stream_found(self, exchange: Exchange) -> None:
        self._stream_opened(exchange.origin, exchange.trace, _kind_of(exchange))

    def ended(self, exchange: Exchange, reason: EndReason) -> None:
        if not exchange.scope:
            return  # the application was never called
        origin, trace, since = exchange.origin, exchange.trace, exchange.started_at
        if exchange.is_stream:
            self._stream_closed(origin, trace, _kind_of(exchange), reason, since=since)
        self._ended(
            origin,
            exchange.head,
            trace,
            reason,
            status=exchange.encoder.status,
            route=route_of(exchange.scope),
            since=since,
            body_bytes=exchange.encoder.body_bytes,
        )

    # WebSockets

    def calling(self, app: Application, message: WebSocketHandoff) -> Application:
        async def told(scope: Scope, receive: Receive, send: Send) -> None:
            self._called[message.origin.connection_id] = scope
            self._started(message.origin, message.head, message.trace, scope)
            await app(scope, receive, send)

        return told

    def accepted(self, message: WebSocketHandoff) -> None:
        self._stream_opened(message.origin, message.trace, "websocket")

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
        origin, trace = message.origin, message.trace
        scope = self._called.pop(origin.connection_id, None)
        if scope is not None:
            if status == 101:
                self._stream_closed(origin, trace, "websocket", reason, since=since, code=code)
            self._ended(
                origin,
                message.head,
                trace,
                reason,
                status=status,
                route=route_of(scope),
                since=since,
                body_bytes=conn.sent_bytes,
            )
        self.closed(conn, reason, origin.requests_served + 1)


def _kind_of(exchange: Exchange) -> StreamKind:
    return "event-stream" if exchange.encoder.event_stream else "http"
