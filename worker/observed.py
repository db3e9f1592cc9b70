"""The worker of a process that has collectors: the same, and it tells them."""

import asyncio
import socket

from msgspec.structs import replace

from hsrv.board.scoreboard import Scoreboard
from hsrv.child.life import ChildBoot, Learn
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason
from hsrv.http.connection import HTTPConnection
from hsrv.http.observed import ObservedHost, Teller, move_of
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import ConnectionHandoff, Handoff, Origin, Trace
from hsrv.worker.handoff import HandoffDesk
from hsrv.worker.worker import Worker


class ObservedDesk(HandoffDesk):
    """Tells what is passed to the pool."""

    def __init__(
        self, channel: Channel, loop: asyncio.AbstractEventLoop, board: Scoreboard, tell: Teller
    ) -> None:
        super().__init__(channel, loop, board)
        self._tell = tell

    def park(self, connection: HTTPConnection) -> bool:
        stamp = self._tell.stamp()
        parked = super().park(connection)
        if parked:
            self._tell.sent(stamp, connection.conn.origin, "parked")
        return parked

    def _send(self, connection: HTTPConnection, head: RequestHead, trace: Trace) -> bool:
        stamp = self._tell.stamp()
        sent = super()._send(connection, head, trace)
        if sent:
            self._tell.sent(stamp, connection.conn.origin, "websocket" if head.websocket else "request")
        return sent


class ObservedWorker(ObservedHost, Worker):
    """A worker that tells."""

    def __init__(self, boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> None:
        super().__init__(boot, loop, learn)
        assert boot.collectors is not None
        self.tell = Teller(boot.collectors)
        self._desk = ObservedDesk(boot.handoff_send, loop, boot.board, self.tell)

    def _admit(self, sock: socket.SocketType, origin: Origin, at_once: bool) -> bool:
        origin = self.tell.named(origin)
        self.tell.opened(origin)
        return super()._admit(sock, origin, at_once)

    def _turn_away(self, connection: HTTPConnection, cause: EndReason) -> None:
        self.tell.refused(connection.conn.origin, 503, str(cause))
        super()._turn_away(connection, cause)

    def _adopted(self, message: ConnectionHandoff, sock: socket.socket) -> None:
        origin = self.tell.named(message.origin)
        self.tell.adopted(origin, move_of(message))
        super()._adopted(replace(message, origin=origin), sock)

    def _shed_handoff(self, message: Handoff, sock: socket.socket) -> None:
        origin = self.tell.named(message.origin)
        self.tell.adopted(origin, move_of(message))
        super()._shed_handoff(replace(message, origin=origin), sock)

    def _leave_to_newer(self, message: ConnectionHandoff, sock: socket.socket) -> bool:
        stamp = self.tell.stamp()
        left = super()._leave_to_newer(message, sock)
        if left:
            self.tell.sent(stamp, message.origin, "adopt")
        return left

    def _give_away(self, connection: HTTPConnection) -> bool:
        stamp = self.tell.stamp()
        given = super()._give_away(connection)
        if given:
            self.tell.sent(stamp, connection.conn.origin, "adopt")
        return given
