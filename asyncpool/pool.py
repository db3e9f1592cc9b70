"""The async pool: every long-lived stream, on one event loop.

Owns the connections that workers handed over, from their request on. Promises: each handed-over request runs once,
with the scope its head gives; the connection of a finished HTTP stream goes back to a worker; at a drain every
stream is ended properly. Must not run what a worker should: no request that arrives later on a connection runs here.
"""

import asyncio
import socket
import time
from typing import Final

from hsrv.asyncpool import drainplan
from hsrv.asyncpool.claims import StreamClaims, UnansweredRequests
from hsrv.asyncpool.lateaccept import LateAcceptor
from hsrv.asyncpool.parking import ParkingLot, most_parked
from hsrv.asyncpool.returns import Returns
from hsrv.asyncpool.room import PoolRoom
from hsrv.asyncpool.websockets import CLOSE_TIMEOUT, WebSockets
from hsrv.board.census import CensusKind
from hsrv.board.lasttaken import LastTaken
from hsrv.board.layout import Count, Gauge, Occupant
from hsrv.child.boot import ChildBoot, Learn
from hsrv.common.globs import LearnedPaths, PassingPaths
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason
from hsrv.http.activity import Activity
from hsrv.http.connection import END_TIMEOUT
from hsrv.http.contract import Connection, Outcome
from hsrv.http.overdue import end_overdue
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import State
from hsrv.ipc.messages import (
    Adoption,
    ConnectionHandoff,
    Handoff,
    ParkedHandoff,
    StreamingHandoff,
    Trace,
    WebSocketHandoff,
    decode_handoff,
)
from hsrv.net.conn import Conn
from hsrv.net.intake import Intake
from hsrv.net.poller import bounded_poller, poller_of
from hsrv.rpc.methods import DrainParams
from hsrv.serving.accept import Acceptor
from hsrv.serving.admission import Admission, over_concurrency
from hsrv.serving.moves import Moves, Reason
from hsrv.serving.route import Placement, StreamPolicy, route
from hsrv.serving.service import RoleService
from hsrv.system.descriptors import most_connections

HEADS_BATCH: Final = 8
"""Connections whose next request is read per turn of the loop, at most: each takes about 0.1 ms from the streams."""

POOL_FULL: Final = "the pool is full"


class AsyncPool(RoleService):
    """Receives requests from the workers, runs them, gives the connections back."""

    def __init__(self, boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> None:
        super().__init__(boot, loop, learn)
        host = self.host
        host.send_timeout = boot.config.stream_send_timeout
        host.keeps_idle = False
        host.answers_half_closed = False
        host.on_finished = self._finished
        self._streams_poller = poller_of(loop)
        self._heads_poller = bounded_poller(loop, HEADS_BATCH)
        """Of connections whose next request is read here, or awaited."""
        self.admission = Admission(host, self._heads_poller)
        self._policy = StreamPolicy(boot.config.stream, boot.config.no_stream)
        self._learned = LearnedPaths()
        self._plain = PassingPaths()
        self._lot = ParkingLot(boot.adopt_send, loop, most_parked(), self._read, host.observer)
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
        acceptor = Acceptor(
            boot.listeners,
            loop,
            self.admission,
            self._room,
            patience=boot.config.queue_timeout,
            last_taken=LastTaken(),
        )
        fds = [sock.fileno() for _, sock in boot.listeners]
        self._returns = Returns(
            host,
            self.admission,
            (boot.adopt_send, boot.adopt_receive),
            last_taken=boot.last_taken,
            read=self._read_adoption,
        )
        self._late = LateAcceptor(fds, loop, acceptor, last_taken=boot.last_taken, taken=self._returns.taken)
        self._moves = Moves(boot.handoff_send, boot.adopt_send, boot.board)
        boot.handoff_send.close()  # the workers' end: a pool hands nothing over to itself
        self._streams: set[Connection] = set()
        """Those whose request runs here."""
        host.most_connections = most_connections()  # again: by now everything is open that always is
        self._claims = StreamClaims(boot.config)
        self._unanswered = UnansweredRequests(boot.census)
        self._finishing = False
        """No worker will hand anything over."""

    # life (hsrv.serving.service)

    def open(self) -> None:
        self._handoffs.open()
        self._late.open()

    def close(self) -> None:
        self._late.close()
        self._handoffs.close()
        self._lot.close()
        self._returns.close()

    def finish(self) -> None:
        """No worker will hand anything over: `run` ends with the last stream."""
        self._finishing = True
        self._handoffs.receive_all()
        if not self.drain.moves_connections:
            self._returns.refuse_all()
        self._check_drained()

    def learned(self, patterns: list[str], plain: list[str]) -> None:
        """Paths that were found to be streams in some process, and paths that were found not to be in a pool."""
        self._learned.add(patterns)
        self._plain.add(plain, time.monotonic())

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
            self._receive_parked(conn, message)
            return
        conn.limit_unsent()
        host.board.count(Count.HANDOFFS_RECEIVED)
        if limit := self._room.limit_for(websocket=isinstance(message, WebSocketHandoff)):
            self._refuse_stream(conn, message, limit)
        elif isinstance(message, WebSocketHandoff) and not self.calls_wsgi:
            self._websockets.start(conn, message)
        else:
            connection = self.admission.enter(conn)
            self._begin_stream(connection)
            connection.resume(message.head, message.buffered, message.trace)

    def _refuse_stream(
        self, conn: Conn, message: StreamingHandoff | WebSocketHandoff, limit: EndReason
    ) -> None:
        connection = self.admission.enter(conn)
        if self.host.census is not None:
            self.host.census.leave(conn)  # it counts for no limit
        self.admission.refuse_request(connection, message.head, message.trace, POOL_FULL, limit)

    def _receive_parked(self, conn: Conn, message: ParkedHandoff) -> None:
        conn.watch_by(self._heads_poller)
        if message.buffered:
            self._read(conn, message.deadline, message.buffered)
            return
        if self.host.census is not None:
            self.host.census.enter(conn)
        self._lot.park(conn, message.deadline)

    def _begin_stream(self, connection: Connection) -> None:
        self._streams.add(connection)
        self._count_streams()

    def _count_streams(self) -> None:
        if self.host.census is not None:
            self.host.census.set(CensusKind.STREAMS, len(self._streams))

    # heads that are read here

    def _read(self, conn: Conn, deadline: float | None, buffered: bytes = b"") -> None:
        """Read the next request of a connection, which nobody watches, and find where it runs."""
        if self.host.census is not None:
            self.host.census.leave(conn)
        connection = self.admission.enter(conn)
        if self.drain.moves_connections and self._moves.move(connection, Reason.DRAIN) is Outcome.ELSEWHERE:
            return
        connection.start(buffered, deadline, at_once=not buffered)

    def _read_adoption(self, message: Adoption, sock: socket.socket) -> None:
        """A connection between two requests that no worker has adopted."""
        assert isinstance(message, ConnectionHandoff)
        if self.host.observer is not None:
            message = self.host.observer.adopted(message)
        conn = Conn(sock, self.host.loop, message.origin)
        conn.watch_by(self._heads_poller)
        self._read(conn, message.deadline, message.buffered)

    def identified(self, connection: Connection) -> Outcome:
        return self.admission.identified(connection)

    def take(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        if self.drain.is_on and not self.drain.moves_connections:
            return self._returns.refuse(connection, head, trace, "the server stops", EndReason.SHED)
        where = route(head, self._policy, self._learned, self._plain, trace.received_at)
        if where is Placement.HERE:
            return self._returns.pass_on(connection, head, trace)
        return self._take_stream(connection, head, trace)

    def _take_stream(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        census = self.host.census
        websocket = head.websocket and not self.calls_wsgi
        if not websocket and over_concurrency(census, self.host.settings):
            self.admission.refuse_concurrency(connection, head, trace)
            return Outcome.REFUSED
        if limit := self._room.limit_for(websocket=websocket):
            return self._returns.refuse(connection, head, trace, POOL_FULL, limit)
        if not websocket:
            self._prepare(connection.conn)
            self._begin_stream(connection)
            return Outcome.HERE
        conn, buffered = connection.release()
        if census is not None:
            census.leave(conn)
        self._prepare(conn)
        message = WebSocketHandoff(origin=conn.origin, head=head, buffered=buffered, trace=trace)
        self._websockets.start(conn, message)
        return Outcome.ELSEWHERE

    def _prepare(self, conn: Conn) -> None:
        """For a stream."""
        conn.unwatch()
        conn.watch_by(self._streams_poller)
        conn.limit_unsent()

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
        self._end_stream(connection)
        if connection.cause is not None:
            self.admission.closed(connection)
        if self._finishing and reason is not EndReason.HANDED_OFF:  # `idle` checks once the lot has it
            self._check_drained()

    def idle(self, connection: Connection) -> Outcome:
        """Its next request is read here, at once or when its client sends one."""
        self._end_stream(connection)
        if connection.buffer:
            connection.conn.unwatch()
            connection.conn.watch_by(self._heads_poller)
            return Outcome.HERE
        conn, _ = connection.release()
        conn.watch_by(self._heads_poller)
        if self.host.settings.park_after:
            self._lot.park(conn, connection.deadline)
        else:
            self._lot.give_back(conn, connection.deadline, b"")
        self._check_drained()
        return Outcome.ELSEWHERE

    def _end_stream(self, connection: Connection) -> None:
        if connection in self._streams:
            self._streams.discard(connection)
            self._count_streams()

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
        if not self.drain.moves_connections:
            self._returns.sweep(now)
        self.sweep_drain(now)

    # drain

    def stop_taking(self, params: DrainParams) -> None:
        """Handoffs are received until `finish`; parked connections leave, and so do those whose next request is read
        here."""
        self._late.close()
        if params.adopt:
            self._lot.send_away()
        else:
            self._lot.close()

    def continue_drain(self, params: DrainParams, age: float) -> None:
        if params.adopt:
            self._moves.move_all(list(self.host.connections), Reason.DRAIN)
        else:
            self._refuse_waiting()
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

    def _refuse_waiting(self) -> None:
        """The workers stop too: none will be free for what waits here."""
        for connection in list(self.host.connections):
            if connection.state is State.WAITING:
                self.host.shed(connection, "the server stops")

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
