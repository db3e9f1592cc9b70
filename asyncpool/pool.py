"""The async pool: every long-lived stream, on one event loop.

Owns the connections that workers handed over, from their request on. Promises: each handed-over request runs once,
with the scope its head gives; the connection of a finished HTTP stream goes back to a worker; at a drain every
stream is ended properly. Must not run what a worker should: no request that arrives later on a connection runs here.
"""

import asyncio
import socket

from hsrv.asyncpool import drainplan
from hsrv.asyncpool.claims import StreamClaims, UnansweredRequests
from hsrv.asyncpool.parking import ParkingLot, most_parked
from hsrv.asyncpool.room import PoolRoom
from hsrv.asyncpool.websockets import CLOSE_TIMEOUT, WebSockets
from hsrv.board.census import CensusKind
from hsrv.board.layout import Count, Gauge, Occupant
from hsrv.child.boot import ChildBoot, Learn
from hsrv.common.terms import EndReason
from hsrv.http.activity import Activity
from hsrv.http.connection import END_TIMEOUT, HTTPConnection
from hsrv.http.contract import Connection, Outcome
from hsrv.http.overdue import end_overdue
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import State
from hsrv.ipc.messages import Handoff, ParkedHandoff, StreamingHandoff, WebSocketHandoff, decode_handoff
from hsrv.net.conn import Conn
from hsrv.net.intake import Intake
from hsrv.rpc.methods import DrainParams
from hsrv.serving.service import RoleService


class AsyncPool(RoleService):
    """Receives requests from the workers, runs them, gives the connections back."""

    def __init__(self, boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> None:
        super().__init__(boot, loop, learn)
        host = self.host
        host.send_timeout = boot.config.stream_send_timeout
        host.keeps_idle = False
        host.answers_half_closed = False
        host.on_finished = self._finished
        self._lot = ParkingLot(boot.adopt_send, loop, most_parked(), host.observer)
        self._websockets = WebSockets(host, self._check_drained)
        self._room = PoolRoom(host, self._websockets, self._lot)
        self._handoffs: Intake[Handoff] = Intake(
            boot.handoff_receive,
            loop,
            decode_handoff,
            self.accept_handoff,
            on_undecodable=self.on_undecodable,
            has_room=self._receives,
            on_exhausted=self._room.make_room,
        )
        boot.handoff_send.close()  # the workers' ends: a pool neither hands over to itself nor adopts
        boot.adopt_receive.close()
        self._refused: set[Connection] = set()
        """Those whose request was answered with 503. They count for no limit."""
        self._claims = StreamClaims(boot.config)
        self._unanswered = UnansweredRequests(boot.census)
        self._finishing = False
        """No worker will hand anything over."""

    # life (hsrv.serving.service)

    def open(self) -> None:
        self._handoffs.open()

    def close(self) -> None:
        self._handoffs.close()
        self._lot.close()

    def finish(self) -> None:
        """No worker will hand anything over: `run` ends with the last stream."""
        self._finishing = True
        self._handoffs.receive_all()
        self._check_drained()

    def learned(self, patterns: list[str], plain: list[str]) -> None:
        """Nothing to do: whatever arrives here runs here."""

    def pool_available(self, available: bool) -> None:
        """Nothing to do: this concerns the workers."""

    def is_stream(self, exchange: Exchange) -> bool:
        """Whatever runs here is shown as one."""
        return True

    def activities(self) -> list[Activity]:
        return [*self.host.activities(), *(session.activity() for session in self._websockets)]

    def tell_board(self) -> None:
        self.host.tell_board()
        self.host.board.gauge(Gauge.PARKED, len(self._lot))

    def busy(self) -> bool:
        return self.host.busy() or bool(self._websockets) or bool(self._lot)

    def occupant(self, task: "asyncio.Task[object] | None") -> Occupant | None:
        session = self._websockets.of_task(task) if task is not None else None
        return session.occupant() if session is not None else self.host.occupant(task)

    def rescue(self) -> None:
        """Streams can't move: log the request that blocks them. Called from another thread."""
        task = asyncio.current_task(self.host.loop)
        calls = [one.exchange for one in list(self.host.connections) if one.state is State.RUNNING]
        for exchange in calls:
            if exchange is not None and (
                exchange.task is task or exchange.task is None
            ):  # None: its first step
                self._claims.report_busy(exchange)
                return

    # handoffs

    def _receives(self) -> bool:
        return self._finishing or self._room.receives()

    def accept_handoff(self, message: Handoff, sock: socket.socket) -> None:
        """Run a request that a worker handed over, or park its connection. Owns `sock` from here on."""
        host = self.host
        if host.observer is not None:
            message = host.observer.adopted(message)
        conn = Conn(sock, host.loop, message.origin)
        if isinstance(message, ParkedHandoff):
            if host.census is not None:
                host.census.enter(conn)
            self._lot.park(conn, message.deadline)
            return
        conn.limit_unsent()
        host.board.count(Count.HANDOFFS_RECEIVED)
        if limit := self._room.limit_for(message):
            self._refuse(conn, message, limit)
        elif isinstance(message, WebSocketHandoff) and not self.calls_wsgi:
            self._websockets.start(conn, message)
        else:
            connection = self.admission.enter(conn)
            self._count_streams()
            connection.resume(message.head, message.buffered, message.trace)

    def _refuse(self, conn: Conn, message: StreamingHandoff | WebSocketHandoff, limit: EndReason) -> None:
        connection = HTTPConnection(conn, self.host)
        self.host.connections.add(connection)
        self._refused.add(connection)
        self.admission.refuse_request(connection, message.head, message.trace, "the pool is full", limit)

    def _count_streams(self) -> None:
        if self.host.census is not None:
            streams = len(self.host.connections) - len(self._refused)
            self.host.census.set(CensusKind.STREAMS, streams)

    # requests, which may turn out to be streams

    def is_timed(self, exchange: Exchange) -> bool:
        """The operator's streams (--stream) are not: a long poll may be silent for any time."""
        return not self._claims.is_given(exchange)

    def started(self, exchange: Exchange) -> None:
        self._unanswered.add(exchange)

    def held_up(self, exchange: Exchange) -> None:
        self._unanswered.discard(exchange)

    def goes_on(self, exchange: Exchange) -> None:
        if exchange in self.host.calls.all:
            self._unanswered.add(exchange)

    def stream_found(self, exchange: Exchange, pattern: str) -> None:
        """From now on the workers hand over plain requests of such a path too."""
        self.learn(pattern, True)
        self._unanswered.discard(exchange)

    def _finished(self, exchange: Exchange, reason: EndReason) -> None:
        self._claims.finished(exchange, reason)
        self._unanswered.discard(exchange)

    def returned(self, exchange: Exchange) -> None:
        self._unanswered.discard(exchange)
        if self._finishing:
            self._check_drained()

    # connections

    def closed(self, connection: Connection, reason: EndReason) -> None:
        self._refused.discard(connection)
        self._count_streams()
        if self._finishing and reason is not EndReason.HANDED_OFF:  # `idle` checks once the lot has it
            self._check_drained()

    def idle(self, connection: Connection) -> Outcome:
        """It goes back to a worker, at once or when its client sends something."""
        conn, buffered = connection.release()
        if buffered or not self.host.settings.park_after:
            self._lot.give_back(conn, connection.deadline, buffered)
        else:
            self._lot.park(conn, connection.deadline)
        self._check_drained()
        return Outcome.ELSEWHERE

    # time

    def sweep(self, now: float) -> None:
        end_overdue(self.host, "--request-timeout, which counts until the response is found to be a stream")
        for pattern in self._claims.take():
            self.learn(pattern, False)
        self.host.sweep(now)
        self._websockets.sweep(now)
        for reason in self._lot.sweep(now):
            self.host.count(reason)
        self.host.board.gauge(Gauge.PARKED, len(self._lot))
        self.sweep_drain(now)

    # drain

    def stop_taking(self, params: DrainParams) -> None:
        """Handoffs are received until `finish`; parked connections leave."""
        if params.adopt:
            self._lot.send_away()
        else:
            self._lot.close()

    def continue_drain(self, params: DrainParams, age: float) -> None:
        if not params.adopt:
            self.host.close_idle()
        steps = drainplan.steps(
            age,
            stream_grace=params.stream_grace,
            graceful_timeout=params.graceful_timeout,
            end_timeout=END_TIMEOUT + CLOSE_TIMEOUT,
            any_unanswered=self._any_unanswered(),
        )
        if steps.share:
            self._end_streams(steps)
        if steps.cut and self._finishing:
            for session in self._websockets:
                session.abort()
            self._lot.close()
            self.host.cut_all()
            self.drain.end()
        self._check_drained()

    def _any_unanswered(self) -> bool:
        connections = self.host.connections
        return self._websockets.any_unanswered or any(connection.unanswered for connection in connections)

    def _end_streams(self, steps: drainplan.DrainSteps) -> None:
        """Tell streams that they are over: WebSocket 1012 (Service Restart), event streams at an event boundary."""
        for session in self._websockets:
            if drainplan.lot_of(session) <= steps.share and (steps.also_unanswered or not session.unanswered):
                session.shutdown(1012, "service restart")
        for connection in list(self.host.connections):
            if drainplan.lot_of(connection) <= steps.share and (
                steps.also_unanswered or not connection.unanswered
            ):
                connection.end_stream()

    def _check_drained(self) -> None:
        if self._finishing and self.drain.is_on and not self.busy():
            self.drain.end()
