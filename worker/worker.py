"""A worker's connections and decisions."""

import asyncio
import contextlib
import random
import select
import socket
import time
from collections.abc import Coroutine
from heapq import nsmallest
from typing import Any, Final

from msgspec.structs import replace

from hsrv.board.census import Census, CensusKind
from hsrv.board.layout import Count
from hsrv.child.life import ChildBoot, Learn
from hsrv.common.globs import LearnedPaths, PassingPaths
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason, ProxyProtocol
from hsrv.http.connection import HTTPConnection
from hsrv.http.contract import Connection, Outcome
from hsrv.http.host import HTTPHost
from hsrv.http.observer import give
from hsrv.http.overdue import end_overdue
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import GIVEABLE
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.http.wire.response import simple_response
from hsrv.ipc.channel import ChannelError
from hsrv.ipc.messages import (
    ConnectionHandoff,
    Handoff,
    Origin,
    ParkedHandoff,
    Trace,
    decode_connection,
    decode_handoff,
    encode,
)
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.conn import RECEIVE_SIZE, Conn
from hsrv.net.intake import Intake
from hsrv.net.waiting import after
from hsrv.options.config import Config
from hsrv.rpc.methods import ChildReport, DrainParams
from hsrv.system.descriptors import IDLE_ENOUGH
from hsrv.worker.accept import Acceptor
from hsrv.worker.handoff import HandoffDesk
from hsrv.worker.places import Places
from hsrv.worker.route import Placement, StreamPolicy, route

LAST_ACCEPTS: Final = 1024
"""Connections that a worker still takes from the accept queue when the server stops: closing the last copy of a
listening socket would reset them."""

ADOPT_BATCH: Final = 16
"""Connections adopted per turn of the loop. When every worker computes, a turn is long, and one connection per turn
would keep parked clients waiting for seconds."""

TURNED_AWAY_LIMIT: Final = 64
"""Connections over a limit that are given the time to read why. More at once are reset."""

_HERE: Final = Outcome.HERE
"""On the way of every request, as in `hsrv.http.connection`."""

log = get_logger("hsrv.worker")


def over_limit(origin: Origin, census: Census, settings: Config) -> EndReason | None:
    """The limit that is passed with this connection, which is counted already."""
    if settings.limit_connections and census.total(CensusKind.CONNECTIONS) > settings.limit_connections:
        return EndReason.LIMIT_CONNECTIONS
    most = settings.limit_connections_per_client
    if most and not origin.proxy_header and census.of_client(origin.client) > most:
        return EndReason.LIMIT_CLIENT
    return None


def _life(requests: int, jitter: int) -> int:
    return requests and requests + random.randint(0, jitter)


class Worker(HTTPHost):
    """Short requests: accepts, runs what is short, passes the rest to the pool."""

    def __init__(self, boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> None:
        super().__init__(
            boot.identity,
            boot.config,
            boot.application,
            loop,
            boot.board,
            census=boot.census,
            collectors=boot.collectors,
        )
        self._learn = learn
        """Tells the supervisor, and by it every worker, of a pattern."""
        self._policy = StreamPolicy(boot.config.stream, boot.config.no_stream)
        self._learned = LearnedPaths()
        self._plain = PassingPaths()
        self._proxies = TrustedProxies(boot.config.proxy_protocol_from)
        """Whose PROXY header is believed."""
        self._proxied = boot.config.proxy_protocol is not ProxyProtocol.OFF
        self._acceptor = Acceptor(boot.listeners, loop, self, patience=boot.config.queue_timeout)
        self._adoptions: Intake[ConnectionHandoff] = Intake(
            boot.adopt_receive, loop, decode_connection, self._adopted, batch=ADOPT_BATCH
        )
        self._adopt_send = boot.adopt_send
        self._desk = HandoffDesk(boot.handoff_send, loop, boot.board)
        self._unserved: Intake[Handoff] = Intake(
            boot.handoff_receive, loop, decode_handoff, self._shed_handoff
        )
        """Open while no pool reads the handoff channel."""
        self._park_after = boot.config.park_after
        self.wears_out_at = _life(boot.config.worker_max_requests, boot.config.worker_max_requests_jitter)
        self._turned_away: set[Connection] = set()
        """Those that were told why they are not served, and may still be reading it."""
        self._places = Places(boot.config.worker_concurrency, self._acceptor, loop, self._places_wanted)
        self._drain: DrainParams | None = None
        self._drain_began = 0.0
        self._drained = asyncio.Event()

    # life (hsrv.child.life.Service)

    def run(self) -> Coroutine[Any, Any, None]:
        """To be awaited: serve until a drain is over."""
        self._adoptions.open()
        self._acceptor.resume()
        self.sweeps.start()
        return after(self._drained, self._leave)

    def _leave(self) -> None:
        self.sweeps.stop()
        self.access_log.flush()
        self._desk.close()
        if self.census is not None:
            self.census.close()

    def announce_close(self) -> None:
        """From now on every response asks its client to reconnect."""
        self.closing = True

    def begin_drain(self, drain: DrainParams) -> None:
        """Stop accepting, finish what runs within the budgets, then let `run` end.

        With `drain.adopt`, connections between two requests move to another worker; otherwise they are closed.
        """
        if self._drain is not None and not drain.is_shorter_than(self._drain):
            return  # the supervisor asked for it and died meanwhile: its budgets go on
        if self._drain is None:
            self._drain_began = self.loop.time()
        self._drain = drain
        self.closing = not drain.adopt
        self._acceptor.close(last=0 if drain.adopt else LAST_ACCEPTS)
        if not drain.adopt:
            self._adoptions.receive_all()
        self._adoptions.close()
        self._sweep_drain(drain, self.loop.time() - self._drain_began)

    def finish(self) -> None:
        """Nothing to do: a worker is done when its connections are."""

    def learned(self, patterns: list[str], plain: list[str]) -> None:
        """Paths that some process found to be streams, and such that a pool found to be none."""
        self._learned.add(patterns)
        self._plain.add(plain, time.monotonic())

    def pool_available(self, available: bool) -> None:
        """Whether a pool takes streams. While none does, what waits in the channel gets 503 from the workers."""
        self._desk.available = available
        if available:
            self._unserved.close()
        elif not self._unserved.is_open:
            self._unserved.open()

    def report(self) -> ChildReport:
        return replace(
            super().report(),
            accepted=self._acceptor.accepted,
            adopted=self._adoptions.received,
            undecodable=self._adoptions.undecodable,
            handoffs_sent=self._desk.sent,
            parked=self._desk.parked,
        )

    # drain

    def _release_idle(self) -> None:
        assert self._drain is not None
        if not self._drain.adopt:
            self.close_idle()
            return
        for connection in list(self.connections):
            if connection.state in GIVEABLE:
                self._give_away(connection)

    def _give_away(self, connection: Connection) -> Outcome:
        try:
            connection.give(self._adopt_send, connection.adoption(), "adopt")
        except ChannelError:
            return Outcome.HERE  # no room now; the sweep tries again
        return Outcome.ELSEWHERE

    def rescue(self) -> None:
        """Some request computes or blocks: a connection between two requests is better off with another worker, also
        when the next one waits there unread."""
        if self._drain is not None or not hasattr(select, "epoll") or not self.turn.acquire(blocking=False):
            return
        try:
            waiting = [connection for connection in self.connections if connection.state in GIVEABLE]
            given = sum(self._give_away(connection) is Outcome.ELSEWHERE for connection in waiting)
        finally:
            self.turn.release()
        if given:
            self.board.count(Count.RESCUED, given)
            log.debug("connections moved", count=given, why="the event loop stands still")

    def _check_drained(self) -> None:
        if self._drain is not None and not self.busy():
            self._drained.set()

    def _sweep_drain(self, drain: DrainParams, age: float) -> None:
        self._release_idle()
        if age >= drain.stream_grace:
            for connection in list(self.connections):
                if connection.exchange is not None and connection.exchange.is_stream:
                    connection.end_stream()
        if age >= drain.graceful_timeout:
            self.cut_all()
            self._drained.set()
        self._check_drained()

    # connections

    def accepted(self, sock: socket.SocketType, origin: Origin, *, at_once: bool) -> Outcome:
        """A new connection. With --proxy-protocol, where a header is required, nobody gets in who may not send one."""
        if not self._proxied:
            return self._admit(sock, origin, at_once)
        if self._proxies.trusts(origin.client):
            return self._admit(sock, replace(origin, proxy_header=True), at_once)
        if self.settings.proxy_protocol is ProxyProtocol.AUTO:
            return self._admit(sock, origin, at_once)
        sock.close()
        self.count(EndReason.UNTRUSTED_PEER)
        if count := lines_due("connection refused", EndReason.UNTRUSTED_PEER):
            why = "not of --proxy-protocol-from"
            log.warning("connection refused", reason=why, peer=origin.client, count=count)
        return Outcome.REFUSED

    # limits (worker.accept.AcceptorHost)

    def _admit(self, sock: socket.SocketType, origin: Origin, at_once: bool) -> Outcome:
        if self.observer is not None:
            origin = self.observer.opened(origin)
        self.board.count(Count.ACCEPTED)
        calls = len(self.calls)
        connection = self._connect(sock, origin)
        limit = self.census is not None and over_limit(connection.conn.origin, self.census, self.settings)
        if limit:
            self._turn_away(connection, limit)
        else:
            connection.start(at_once=at_once)
        if connection.conn.is_open or len(self.calls) != calls:  # a call may outlive its connection
            return Outcome.HERE
        return Outcome.OVER

    def identified(self, connection: Connection) -> Outcome:
        if self.census is None:
            return Outcome.HERE
        self.census.leave(connection.conn)
        self.census.enter(connection.conn)
        limit = over_limit(connection.conn.origin, self.census, self.settings)
        if limit:
            self._turn_away(connection, limit)
        return Outcome.REFUSED if limit else Outcome.HERE

    def _turn_away(self, connection: Connection, cause: EndReason) -> None:
        """Answer 503 before anything is asked. Of many at a time only some are waited for until they have read it."""
        if self.observer is not None:
            self.observer.refused(connection.conn.origin, 503, str(cause))
        connection.cause = cause
        self.count(cause)
        if self.census is not None:
            self.census.leave(connection.conn)  # or those who are refused would keep others out
        if count := lines_due("connection refused", cause):
            peer = connection.conn.origin.client
            log.warning("connection refused", reason=cause, peer=peer, count=count)
        if len(self._turned_away) >= TURNED_AWAY_LIMIT:
            connection.abort(cause)
        else:
            self._turned_away.add(connection)
            connection.answer(503, "Service Unavailable", retry_after=1)

    def turned_away(self, sock: socket.SocketType, origin: Origin) -> None:
        """There are no descriptors for this one. What it has sent by now is read, so that to close doesn't reset it."""
        self.count(EndReason.DESCRIPTORS)
        headers = [(b"retry-after", b"1")]
        with contextlib.closing(sock), contextlib.suppress(OSError):
            with contextlib.suppress(BlockingIOError):
                sock.recv(RECEIVE_SIZE)
            sock.send(simple_response(503, "Service Unavailable", self.default_headers(), headers=headers))

    def has_room(self) -> bool:
        return len(self.connections) < self.most_connections

    def make_room(self, count: int) -> int:
        """Close the connections that have been idle for longest, and for IDLE_ENOUGH."""
        now = self.loop.time()
        idle = [one for one in self.connections if one.served and one.rests_since(now) >= IDLE_ENOUGH]
        closed = 0
        for connection in nsmallest(count, idle, key=lambda one: one.deadline):
            connection.look()  # a request may have arrived
            if connection.unused:
                connection.close(EndReason.DESCRIPTORS)
                closed += 1
        return closed

    def _adopted(self, message: ConnectionHandoff, sock: socket.socket) -> None:
        if self.observer is not None:
            message = self.observer.adopted(message)
        newer = message.origin.generation > self.identity.generation
        if newer and self._drain is None and self._leave_to_newer(message, sock) is Outcome.ELSEWHERE:
            return
        self.board.count(Count.ADOPTED)
        connection = self._connect(sock, message.origin)
        connection.parkable = message.parkable
        # Not in the next turn: before it we may stand still, and the connection move on unread, again and again.
        connection.start(message.buffered, message.deadline, at_once=self._drain is None)

    def _leave_to_newer(self, message: ConnectionHandoff, sock: socket.socket) -> Outcome:
        """Our drain is on its way and we were too busy to hear of it; all generations share the adopt channel. Put back
        what has seen newer code than ours, and take no more. HERE: no room; an older answer is better than none."""
        try:
            conn = Conn(sock, self.loop, message.origin)
            give(conn, self._adopt_send, encode(message), "adopt", self.observer)
        except ChannelError:
            return Outcome.HERE
        self._adoptions.close()
        return Outcome.ELSEWHERE

    def _connect(self, sock: socket.SocketType, origin: Origin) -> HTTPConnection:
        connection = HTTPConnection(Conn(sock, self.loop, origin), self)
        self.opened(connection)
        return connection

    def _shed_handoff(self, message: Handoff, sock: socket.socket) -> None:
        if self.observer is not None:
            message = self.observer.adopted(message)
        connection = self._connect(sock, message.origin)
        if isinstance(message, ParkedHandoff):
            connection.start(deadline=message.deadline)
            return
        connection.wait(message.head, message.trace, self.settings.handoff_timeout)
        self._refuse_handoff(connection, "no pool was ready within --handoff-timeout")

    def closed(self, connection: Connection, reason: EndReason) -> None:
        super().closed(connection, reason)
        if connection.cause is not None:
            self._turned_away.discard(connection)
        if self._drain is not None:
            self._check_drained()

    def idle(self, connection: Connection) -> Outcome:
        if self._drain is not None and self._drain.adopt:
            return self._give_away(connection)
        return _HERE

    # requests

    def take(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        where = route(head, self._policy, self._learned, self._plain, trace.received_at)
        if self.census is not None and not head.websocket and self._too_many_requests(self.census):
            connection.wait(head, trace, 0.0)
            self.shed(connection, "--limit-concurrency is reached", EndReason.LIMIT_CONCURRENCY)
            return Outcome.REFUSED
        if where is Placement.POOL:
            return self._pass_on(connection, head, trace)
        if self._places.free:
            return _HERE
        connection.wait(head, trace, self.settings.queue_timeout)
        self._places.queue(connection)
        return Outcome.LATER

    def _places_wanted(self, count: int) -> None:
        if self.census is not None:
            self.census.set(CensusKind.REQUESTS, count)

    def _too_many_requests(self, census: Census) -> bool:
        limit = self.settings.limit_concurrency
        return bool(limit) and census.total(CensusKind.REQUESTS) >= limit

    def _pass_on(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        outcome = self._desk.pass_on(connection, head, trace, patience=self.settings.handoff_timeout)
        if outcome is Outcome.REFUSED:
            self._refuse_handoff(connection, "no pool takes streams at present")
        return outcome

    def _refuse_handoff(self, connection: Connection, why: str) -> None:
        self.board.count(Count.HANDOFFS_REFUSED)
        self.shed(connection, why)

    def worn_out(self) -> None:
        self.wears_out_at += self.settings.worker_max_requests  # should it not have been replaced by then
        self.on_worn_out("requests", f"{self.served} requests served (--worker-max-requests)")

    def started(self, connection: Connection, exchange: Exchange) -> None:
        super().started(connection, exchange)
        if not exchange.held_up:
            self._places.take(exchange)

    def returned(self, exchange: Exchange) -> None:
        super().returned(exchange)
        self._places.give_back(exchange)
        self._check_drained()

    def held_up(self, exchange: Exchange) -> None:
        self._places.give_back(exchange)

    def goes_on(self, exchange: Exchange) -> None:
        """More than there are places may go on; whoever comes waits for it."""
        if exchange in self.calls.all and not self.is_stream(exchange):
            self._places.take(exchange)

    # requests that take too long, and streams that nobody announced

    def sweep(self, now: float) -> None:
        end_overdue(self, "--request-timeout")
        super().sweep(now)
        self.board.put(Count.UNDECODABLE, self._adoptions.undecodable)
        if self._drain is not None:
            self._sweep_drain(self._drain, now - self._drain_began)
        elif self._park_after:
            self._park_idle(now)

    def _park_idle(self, now: float) -> None:
        for connection in list(self.connections):
            rests = connection.rests_since(now)
            if not connection.parkable or rests < self._park_after:
                continue
            if self._desk.park(connection) is Outcome.HERE:
                return  # no room at present; the next sweep tries again

    def stream_found(self, exchange: Exchange, pattern: str) -> None:
        """It goes on here, as a call that has begun can't move; the next one goes to the pool."""
        self._places.give_back(exchange)
        self.board.count(Count.STREAMS_IN_WORKER)
        if pattern not in self._learned:
            log.warning("stream in a worker", path=exchange.head.path, hint=f"--stream '{pattern}'")
            self._learned.add([pattern])
            self._learn(pattern, True)
