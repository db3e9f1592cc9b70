"""A worker: short requests. What is a stream goes on to the pool.

Owns the wiring of its parts and every decision about a request. Promises: a request runs in one process; at most
--worker-concurrency run here at a time; a connection that can't be served soon is given to a process that can.
"""

import asyncio
import random
import select
import socket
import time
from collections.abc import Callable
from heapq import nsmallest
from itertools import islice
from typing import Final

from hsrv.board.census import CensusKind
from hsrv.board.layout import Count
from hsrv.child.boot import ChildBoot, Learn
from hsrv.common.globs import LearnedPaths, PassingPaths
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason
from hsrv.http.connection import HTTPConnection
from hsrv.http.contract import Connection, Outcome
from hsrv.http.host import HTTPHost
from hsrv.http.overdue import end_overdue
from hsrv.http.request.exchange import Exchange
from hsrv.ipc.messages import (
    Adoption,
    Handoff,
    ParkedHandoff,
    RequestHandoff,
    Trace,
    decode_adoption,
    decode_handoff,
)
from hsrv.logs.logging import get_logger
from hsrv.net.conn import Conn
from hsrv.net.intake import Intake
from hsrv.rpc.methods import DrainParams
from hsrv.serving.accept import ROOM_WANTED, Acceptor
from hsrv.serving.admission import over_concurrency
from hsrv.serving.desk import HandoffDesk, is_overdue
from hsrv.serving.moves import Moves, Reason
from hsrv.serving.route import Placement, StreamPolicy, route
from hsrv.serving.service import RoleService
from hsrv.system.cpus import resolve_workers
from hsrv.system.descriptors import IDLE_ENOUGH
from hsrv.worker.longcalls import LongCalls
from hsrv.worker.places import Places

LAST_ACCEPTS: Final = 1024
"""Connections that a worker still takes from the accept queue when the server stops: closing the last copy of a
listening socket would reset them."""

ADOPT_BATCH: Final = 16
"""Connections adopted per turn of the loop. When every worker computes, a turn is long, and one connection per turn
would keep parked clients waiting for seconds."""

MAKE_WAY_LIMIT: Final = 64
"""Connections that leave before a long call. Each takes a system call of about 10 µs."""

_HERE: Final = Outcome.HERE
"""Used for every request, as in `hsrv.http.connection`."""

RESCUE_PATIENCE: Final = 0.05
"""Seconds that a rescue waits for the lock of connections. The thread that sends responses late holds it for less; a
loop that holds it for longer isn't blocked by the application."""

log = get_logger("hsrv.worker")


def _life(requests: int, jitter: int) -> int:
    return requests and requests + random.randint(0, jitter)


class IdleRoom:
    """Room for connections in a worker (`hsrv.serving.accept.Room`): idle ones make room."""

    def __init__(self, host: HTTPHost) -> None:
        self._host = host

    def has_room(self) -> bool:
        return len(self._host.connections) < self._host.most_connections

    def make_room(self, count: int) -> int:
        """Close the connections that have been idle for longest, and for IDLE_ENOUGH."""
        now = self._host.loop.time()
        idle = [one for one in self._host.connections if one.served and one.rests_since(now) >= IDLE_ENOUGH]
        closed = 0
        for connection in nsmallest(count, idle, key=lambda one: one.deadline):
            connection.look()  # a request may have arrived
            if connection.unused:
                connection.close(EndReason.DESCRIPTORS)
                closed += 1
        return closed


class Wear:
    """Counts responses, and reports a worker that has had enough of them (--worker-max-requests)."""

    def __init__(self, life: int, again: int, on_worn_out: Callable[[int], None]) -> None:
        """`life`: responses until the first report. `again`: until the next one, if the worker is not replaced."""
        self._reports_at = life
        self._again = again
        self._on_worn_out = on_worn_out
        self._served = 0

    def finished(self, exchange: Exchange, reason: EndReason) -> None:
        self._served += 1
        if self._served == self._reports_at:
            self._reports_at += self._again
            self._on_worn_out(self._served)


class Worker(RoleService):
    """Accepts, runs short requests, passes the others to the pool."""

    def __init__(self, boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> None:
        super().__init__(boot, loop, learn)
        config = boot.config
        self._policy = StreamPolicy(config.stream, config.no_stream)
        self._learned = LearnedPaths()
        self._plain = PassingPaths()
        self._last_taken = boot.last_taken
        self._long_calls = LongCalls(resolve_workers(config)[0])
        self._after_long: set[Connection] = set()
        """Those whose present call took long."""
        self._room = IdleRoom(self.host)
        self._acceptor = Acceptor(
            boot.listeners,
            loop,
            self.admission,
            self._room,
            patience=config.queue_timeout,
            last_taken=boot.last_taken,
        )
        self._adoptions: Intake[Adoption] = Intake(
            boot.adopt_receive,
            loop,
            decode_adoption,
            self.adopt,
            on_undecodable=self.on_undecodable,
            batch=ADOPT_BATCH,
            has_room=self._may_adopt,
        )
        self._desk = HandoffDesk(boot.handoff_send, loop, boot.board)
        self._moves = Moves(boot.handoff_send, boot.adopt_send, boot.board)
        self._unserved: Intake[Handoff] = Intake(
            boot.handoff_receive,
            loop,
            decode_handoff,
            self._shed_handoff,
            on_undecodable=self.on_undecodable,
        )
        """Open while no pool reads the handoff channel."""
        self._places = Places(self.places, self._acceptor, loop, self._count_requests)
        if life := _life(config.worker_max_requests, config.worker_max_requests_jitter):
            self.host.on_finished = Wear(life, config.worker_max_requests, self._worn_out).finished
        self.host.long_after = self._long_calls.limit

    # life (hsrv.serving.service)

    def open(self) -> None:
        self._adoptions.open()
        self._acceptor.resume()

    def close(self) -> None:
        self._desk.close()

    def finish(self) -> None:
        """Nothing to do: a worker is done when its connections are."""

    def learned(self, patterns: list[str], plain: list[str]) -> None:
        """Paths that were found to be streams in some process, and paths that were found not to be in a pool."""
        self._learned.add(patterns)
        self._plain.add(plain, time.monotonic())

    def pool_available(self, available: bool) -> None:
        """Whether a pool takes streams. While none does, what waits in the channel gets 503 from the workers."""
        self._desk.available = self._moves.pool_available = available
        if available:
            self._unserved.close()
        else:
            self._unserved.open()

    # drain

    def stop_taking(self, params: DrainParams) -> None:
        self._acceptor.close(last=0 if params.adopt else LAST_ACCEPTS)
        if not params.adopt:
            self._adoptions.receive_all()
        self._adoptions.close()

    def continue_drain(self, params: DrainParams, age: float) -> None:
        host = self.host
        if params.adopt:
            self._moves.move_all(list(host.connections), Reason.DRAIN)
        else:
            host.close_idle()
        if age >= params.stream_grace:
            for connection in list(host.connections):
                if connection.exchange is not None and connection.exchange.is_stream:
                    connection.end_stream()
        if age >= params.graceful_timeout:
            host.cut_all()
            self.drain.end()
        self._check_drained()

    def _check_drained(self) -> None:
        if self.drain.is_on and not self.busy():
            self.drain.end()

    def rescue(self) -> None:
        """The event loop is blocked: move connections between two requests to the pool, which reads the next one.
        Called from another thread."""
        turn = self.host.turn
        if self.drain.is_on or not hasattr(select, "epoll") or not turn.acquire(timeout=RESCUE_PATIENCE):
            return
        try:
            connections = list(self.host.connections)
            for connection in connections:
                connection.finish_sent()
            given = self._moves.move_all(connections, Reason.BLOCKED)
        finally:
            turn.release()
        if given:
            log.debug("connections moved", count=given, why="the event loop is blocked")

    # connections

    def adopt(self, message: Adoption, sock: socket.socket) -> None:
        """Serve a connection that another process gave away. Owns `sock` from here on."""
        host = self.host
        self._last_taken.adopted_at = host.loop.time()
        if host.observer is not None:
            message = host.observer.adopted(message)
        conn = Conn(sock, host.loop, message.origin)
        newer = message.origin.generation > host.identity.generation
        if newer and not self.drain.is_on and self._leave_to_newer(message, conn) is Outcome.ELSEWHERE:
            return
        host.board.count(Count.ADOPTED)
        connection = self.admission.enter(conn)
        if isinstance(message, RequestHandoff):
            self._serve_request(connection, message)
            return
        connection.parkable = message.parkable
        # Not in the next turn: the loop may be blocked before it, and the connection move on unread, again and again.
        connection.start(message.buffered, message.deadline, at_once=not self.drain.is_on)

    def _serve_request(self, connection: HTTPConnection, message: RequestHandoff) -> None:
        head, trace = message.head, message.trace
        if not is_overdue(trace, self.host.loop.time(), self.host.settings.queue_timeout):
            connection.take_over(head, message.buffered, trace)
        else:
            why = "no worker was free in time"
            self.admission.refuse_request(connection, head, trace, why, EndReason.QUEUE_TIMEOUT)

    def _may_adopt(self) -> bool:
        return self.drain.is_on or self._room.has_room() or self._room.make_room(ROOM_WANTED) > 0

    def _leave_to_newer(self, message: Adoption, conn: Conn) -> Outcome:
        """All generations share the adopt channel, and the message that starts this worker's drain is late. Put back a
        connection that newer code has served, and adopt no more. HERE: no room; an answer of older code is better than
        none."""
        outcome = self._moves.pass_on(conn, message, self.host.observer)
        if outcome is Outcome.ELSEWHERE:
            self._adoptions.close()
        return outcome

    def _shed_handoff(self, message: Handoff, sock: socket.socket) -> None:
        """No pool reads the handoff channel: park nothing, and answer requests with 503."""
        host = self.host
        if host.observer is not None:
            message = host.observer.adopted(message)
        connection = self.admission.enter(Conn(sock, host.loop, message.origin))
        if isinstance(message, ParkedHandoff):
            connection.start(message.buffered, message.deadline)
        else:
            why = "no pool was ready within --handoff-timeout"
            self._refuse_handoff(connection, message.head, message.trace, why)

    def identified(self, connection: Connection) -> Outcome:
        return self.admission.identified(connection)

    def closed(self, connection: Connection, reason: EndReason) -> None:
        if self._after_long:
            self._after_long.discard(connection)
        if connection.cause is not None:
            self.admission.closed(connection)
        if self.drain.is_on:
            self._check_drained()

    def idle(self, connection: Connection) -> Outcome:
        if self.drain.moves_connections:
            return self._moves.move(connection, Reason.DRAIN)
        if self._after_long and connection in self._after_long:
            self._after_long.discard(connection)
            if connection.parkable and self._may_park():
                return self._moves.move(connection, Reason.LONG)
        return _HERE

    def _may_park(self) -> bool:
        return bool(self.host.settings.park_after) and self._desk.is_free and not self.drain.is_on

    # requests

    def take(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        where = route(head, self._policy, self._learned, self._plain, trace.received_at)
        census = self.host.census
        if census is not None and not head.websocket and over_concurrency(census, self.host.settings):
            self.admission.refuse_concurrency(connection, head, trace)
            return Outcome.REFUSED
        if where is Placement.POOL:
            return self._pass_on(connection, head, trace)
        if self._places.free:
            if self._long_calls.any_known and self._long_calls.expects(head.path):
                self._make_way(connection)
            return _HERE
        connection.wait(head, trace, self.host.settings.queue_timeout)
        self._places.queue(connection)
        return Outcome.LATER

    def _count_requests(self, count: int) -> None:
        if self.host.census is not None:
            self.host.census.set(CensusKind.REQUESTS, count)

    def _pass_on(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        outcome = self._desk.pass_on(connection, head, trace, patience=self.host.settings.handoff_timeout)
        if outcome is Outcome.REFUSED:
            self._refuse_handoff(connection, head, trace, "no pool takes streams at present")
        return outcome

    def _refuse_handoff(self, connection: Connection, head: RequestHead, trace: Trace, why: str) -> None:
        self.host.board.count(Count.HANDOFFS_REFUSED)
        self.admission.refuse_request(connection, head, trace, why, EndReason.SHED)

    # calls that take long

    def _make_way(self, connection: Connection) -> None:
        """The call that `connection` is about to begin takes long: others would wait for it."""
        if self._may_park():
            others = (one for one in self.host.connections if one is not connection and one.parkable)
            self._moves.move_all(list(islice(others, MAKE_WAY_LIMIT)), Reason.LONG)

    def lasted(self, connection: Connection, exchange: Exchange, seconds: float) -> None:
        if seconds >= self._long_calls.limit:
            self._after_long.add(connection)
        self._long_calls.took(exchange.pattern(), seconds)
        self.host.long_after = 0.0 if self._long_calls.any_known else self._long_calls.limit

    def _worn_out(self, served: int) -> None:
        self.on_worn_out("requests", f"{served} requests served (--worker-max-requests)")

    def started(self, exchange: Exchange) -> None:
        if not exchange.held_up and not exchange.is_stream:  # its first step may have begun an event stream
            self._places.take(exchange)

    def returned(self, exchange: Exchange) -> None:
        self._places.give_back(exchange)
        if self.drain.is_on:
            self._check_drained()

    def held_up(self, exchange: Exchange) -> None:
        self._places.give_back(exchange)

    def goes_on(self, exchange: Exchange) -> None:
        """This may exceed --worker-concurrency; new requests wait for it."""
        if exchange in self.host.calls.all and not exchange.is_stream:
            self._places.take(exchange)

    def stream_found(self, exchange: Exchange, pattern: str) -> None:
        """It goes on here, as a call that has begun can't move; the next one goes to the pool."""
        self._places.give_back(exchange)
        self.host.board.count(Count.STREAMS_IN_WORKER)
        if pattern not in self._learned:
            log.warning("stream in a worker", path=exchange.head.path, hint=f"--stream '{pattern}'")
            self._learned.add([pattern])
            self.learn(pattern, True)

    # time

    def sweep(self, now: float) -> None:
        end_overdue(self.host, "--request-timeout")
        self.host.sweep(now)
        if self.drain.is_on:
            self.sweep_drain(now)
        elif self.host.settings.park_after:
            self._park_idle(now)

    def _park_idle(self, now: float) -> None:
        for connection in list(self.host.connections):
            rests = connection.rests_since(now)
            if not connection.parkable or rests < self.host.settings.park_after:
                continue
            if not self._desk.is_free or self._moves.move(connection, Reason.IDLE) is Outcome.HERE:
                return  # no room at present; the next sweep tries again
