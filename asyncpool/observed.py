"""The pool of a process that has collectors: the same, and it tells them."""

import asyncio
import socket

from msgspec.structs import replace

from hsrv.asyncpool.parking import Parked, ParkingLot, most_parked
from hsrv.asyncpool.pool import AsyncPool
from hsrv.asyncpool.websocket.session import WebSocketSession
from hsrv.child.life import ChildBoot, Learn
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.terms import EndReason
from hsrv.events.types import ConnectionParked
from hsrv.http.observed import ObservedHost, Teller, move_of, route_of
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import Handoff, WebSocketHandoff


class ObservedLot(ParkingLot):
    """Tells who comes, and how each leaves."""

    def __init__(self, adopt: Channel, loop: asyncio.AbstractEventLoop, limit: int, tell: Teller) -> None:
        super().__init__(adopt, loop, limit)
        self._tell = tell

    def _hold(self, parked: Parked) -> None:
        super()._hold(parked)
        id_ = parked.conn.origin.connection_id
        self._tell.emit(ConnectionParked(*self._tell.stamp(), connection=id_), None)

    def _give(self, parked: Parked) -> None:
        stamp = self._tell.stamp()
        super()._give(parked)
        self._tell.sent(stamp, parked.conn.origin, "adopt")

    def _end(self, parked: Parked, reason: EndReason) -> None:
        super()._end(parked, reason)
        self._tell.closed(parked.conn, reason, parked.conn.origin.requests_served)


class ObservedPool(ObservedHost, AsyncPool):
    """A pool that tells."""

    def __init__(self, boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> None:
        super().__init__(boot, loop, learn)
        assert boot.collectors is not None
        self.tell = Teller(boot.collectors)
        self._lot = ObservedLot(boot.adopt_send, loop, most_parked(), self.tell)
        self._called: dict[str, Scope] = {}
        """Of the WebSockets whose application was called, by connection."""

    def accept_handoff(self, message: Handoff, sock: socket.socket) -> None:
        origin = self.tell.named(message.origin)
        self.tell.adopted(origin, move_of(message))
        super().accept_handoff(replace(message, origin=origin), sock)

    def application_of(self, message: WebSocketHandoff) -> Application:
        inner = super().application_of(message)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            self._called[message.origin.connection_id] = scope
            self.tell.started(message.origin, message.head, message.trace, scope)
            await inner(scope, receive, send)

        return app

    def session_accepted(self, session: WebSocketSession) -> None:
        super().session_accepted(session)
        self.tell.stream_opened(session.handoff.origin, session.handoff.trace, "websocket")

    def _session_closed(self, session: WebSocketSession, reason: EndReason, code: int) -> None:
        scope = self._called.pop(session.handoff.origin.connection_id, None)
        if scope is not None:
            self._tell_session_end(session, reason, code, scope)
        self.tell.closed(session.conn, reason, session.handoff.origin.requests_served + 1)
        super()._session_closed(session, reason, code)

    def _tell_session_end(
        self, session: WebSocketSession, reason: EndReason, code: int, scope: Scope
    ) -> None:
        handoff, since = session.handoff, session.started_at
        if session.status == 101:
            self.tell.stream_closed(
                handoff.origin, handoff.trace, "websocket", reason, since=since, code=code
            )
        self.tell.ended(
            handoff.origin,
            handoff.head,
            handoff.trace,
            reason,
            status=session.status,
            route=route_of(scope),
            since=since,
            body_bytes=session.conn.sent_bytes,
        )
