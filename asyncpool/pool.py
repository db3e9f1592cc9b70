"""The async pool: every long-lived stream, on one event loop.

Owns the connections that workers handed over, from their request on. Promises: each handed-over request runs once,
with the scope its head gives; the connection of a finished HTTP stream goes back to a worker; at a drain every
stream is ended properly. Must not run what a worker should: no request that arrives later on a connection runs here.
"""

import asyncio
import math
import socket
import time
from collections.abc import Coroutine, Iterator
from typing import Any, Final

from msgspec.structs import replace

from hsrv.asyncpool.claims import StreamClaims
from hsrv.asyncpool.parking import ParkingLot, most_parked
from hsrv.asyncpool.websocket.memory import MessageMemory
from hsrv.asyncpool.websocket.session import WebSocketSession, WebSocketSettings
from hsrv.board.census import CensusKind
from hsrv.board.layout import Count, Gauge, Histogram, Occupant
from hsrv.child.life import ChildBoot, Learn
from hsrv.common.asgi import Application
from hsrv.common.terms import EndReason
from hsrv.http.activity import Activity
from hsrv.http.connection import END_TIMEOUT, HTTPConnection
from hsrv.http.contract import Connection, Outcome
from hsrv.http.host import HTTPHost
from hsrv.http.overdue import end_overdue
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import State
from hsrv.ipc.messages import Handoff, ParkedHandoff, StreamingHandoff, WebSocketHandoff, decode_handoff
from hsrv.logs.logging import get_logger
from hsrv.net.conn import Conn
from hsrv.net.intake import Intake
from hsrv.net.waiting import after
from hsrv.options.stopbudget import END_SPREAD
from hsrv.rpc.methods import ChildReport, DrainParams
from hsrv.system.platform import return_free_memory

END_SPREAD_SHARE: Final = 0.2
"""Seconds over which a drain ends the streams, as a share of their grace: where there is none, they end at once."""

ROOM_WANTED: Final = 16
"""Parked connections that are closed when a stream finds no descriptor: to do it for each would cost more."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds a WebSocket peer has to answer our close frame."""

log = get_logger("hsrv.pool")


class AsyncPool(HTTPHost):
    """Long-lived streams: receives requests from the workers, runs them, gives the connections back."""

    answers_half_closed = False

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
        config = boot.config
        self.send_timeout = config.stream_send_timeout
        self._learn = learn
        self._handoffs: Intake[Handoff] = Intake(
            boot.handoff_receive,
            loop,
            decode_handoff,
            self.accept_handoff,
            has_room=self._welcomes,
            on_exhausted=self._make_room,
        )
        self._lot = ParkingLot(boot.adopt_send, loop, most_parked(), self.observer)
        self._full_since = math.inf
        """loop.time() since which there have been no descriptors to spare."""
        self._parks = bool(config.park_after)
        boot.handoff_send.close()  # the workers' ends: to hand over to ourselves, or adopt, is not for a pool
        boot.adopt_receive.close()
        self._sessions: set[WebSocketSession] = set()
        self._refused: set[Connection] = set()
        """Those whose request was answered with 503 at once. They count for no limit."""
        self._ws_settings = WebSocketSettings(
            codec=config.ws,
            max_message=config.ws_max_message,
            max_inflated=config.ws_max_inflated,
            message_timeout=config.ws_message_timeout,
            ping_interval=config.ws_ping_interval,
            ping_timeout=config.ws_ping_timeout,
            per_message_deflate=config.ws_per_message_deflate,
            send_timeout=config.stream_send_timeout,
            close_timeout=CLOSE_TIMEOUT,
        )
        self._ws_memory = MessageMemory(config.ws_memory)
        self._claims = StreamClaims(config)
        self._requests: set[Exchange] = set()
        """Those that are not found to be streams; for --limit-concurrency."""
        self._drain: DrainParams | None = None
        self._drain_began = 0.0
        self._finishing = False
        self._drained = asyncio.Event()

    # life (hsrv.child.life.Service)

    def run(self) -> Coroutine[Any, Any, None]:
        """To be awaited: serve until a drain is over."""
        self._handoffs.open()
        self.sweeps.start()
        return after(self._drained, self._leave)

    def _leave(self) -> None:
        self.sweeps.stop()
        self.access_log.flush()
        self._handoffs.close()
        self._lot.close()
        if self.census is not None:
            self.census.close()

    def announce_close(self) -> None:
        """From now on every response asks its client to reconnect."""
        self.closing = True

    def begin_drain(self, drain: DrainParams) -> None:
        """Let the streams end by themselves for `drain.stream_grace` seconds, then end them."""
        if self._drain is not None and not drain.is_shorter_than(self._drain):
            return  # the supervisor asked for it and died meanwhile: its budgets go on
        if self._drain is None:
            self._drain_began = self.loop.time()
        self._drain = drain
        self.closing = not drain.adopt
        if drain.adopt:
            self._lot.send_away()
        else:
            self._lot.close()
        self._sweep_drain(drain, self.loop.time() - self._drain_began)

    def finish(self) -> None:
        """No worker will hand anything over any more: `run` ends with the last stream."""
        self._finishing = True
        self._handoffs.receive_all()
        self._check_drained()

    def learned(self, patterns: list[str], plain: list[str]) -> None:
        """Nothing to do: what arrives here runs here."""

    def pool_available(self, available: bool) -> None:
        """Nothing to do: the workers' matter."""

    def is_stream(self, exchange: Exchange) -> bool:
        """Whatever runs here is one."""
        return True

    def activities(self) -> list[Activity]:
        return [*super().activities(), *(session.activity() for session in self._sessions)]

    def report(self) -> ChildReport:
        return replace(
            super().report(),
            connections=len(self.connections) + len(self._sessions) + len(self._lot),
            parked=len(self._lot),
            handoffs_received=self._handoffs.received,
            undecodable=self._handoffs.undecodable,
        )

    # streams

    def accept_handoff(self, message: Handoff, sock: socket.socket) -> None:
        """Run a request that a worker handed over. Owns `sock` from here on."""
        if self.observer is not None:
            message = self.observer.adopted(message)
        conn = Conn(sock, self.loop, message.origin)
        if isinstance(message, ParkedHandoff):
            if self.census is not None:
                self.census.enter(conn)
            self._lot.park(conn, message.deadline)
            return
        conn.limit_unsent()
        self.board.count(Count.HANDOFFS_RECEIVED)
        if limit := self._over_limit(message):
            self._refuse(conn, message, limit)
        elif isinstance(message, WebSocketHandoff):
            self._start_session(conn, message)
        else:
            connection = HTTPConnection(conn, self)
            self.opened(connection)
            connection.resume(message.head, message.buffered, message.trace)

    def opened(self, connection: HTTPConnection) -> None:
        super().opened(connection)
        self._count_streams()

    def _count_streams(self) -> None:
        if self.census is not None:
            self.census.set(CensusKind.STREAMS, len(self.connections) - len(self._refused))
            self.census.set(CensusKind.WEBSOCKETS, len(self._sessions))

    def _over_limit(self, message: StreamingHandoff | WebSocketHandoff) -> EndReason | None:
        """The limit that stands against one more."""
        if not self._has_room() and not self._make_room():
            return EndReason.DESCRIPTORS
        if self.census is None:
            return None
        if isinstance(message, WebSocketHandoff):
            most, held, reason = (
                self.settings.limit_websockets,
                CensusKind.WEBSOCKETS,
                EndReason.LIMIT_WEBSOCKETS,
            )
        else:
            most, held, reason = self.settings.limit_streams, CensusKind.STREAMS, EndReason.LIMIT_STREAMS
        return reason if most and self.census.total(held) >= most else None

    def _welcomes(self) -> bool:
        """Whether to receive. Who comes to a full pool waits in the channel for --handoff-timeout, then is told so."""
        now = self.loop.time()
        if self._finishing or self._has_room() or self._make_room():
            self._full_since = math.inf
            return True
        self._full_since = min(self._full_since, now)
        return now - self._full_since >= self.settings.handoff_timeout

    def _has_room(self) -> bool:
        return len(self.connections) + len(self._sessions) + len(self._lot) < self.most_connections

    def _make_room(self) -> bool:
        """Close connections that have stood in the lot for longest: a stream is worth more."""
        closed = self._lot.evict(ROOM_WANTED)
        for _ in range(closed):
            self.count(EndReason.DESCRIPTORS)
        return closed > 0

    def _refuse(self, conn: Conn, message: StreamingHandoff | WebSocketHandoff, limit: EndReason) -> None:
        connection = HTTPConnection(conn, self)
        self.connections.add(connection)
        self._refused.add(connection)
        connection.wait(message.head, message.trace, 0.0)
        self.shed(connection, "the pool is full", limit)

    def _start_session(self, conn: Conn, message: WebSocketHandoff) -> None:
        session = WebSocketSession(
            conn,
            message,
            self.scopes.websocket(message.head, message.origin, self.state),
            self._application_of(message),
            self._ws_settings,
            loop=self.loop,
            backlog=self.backlog,
            memory=self._ws_memory,
            defaults=self.default_headers,
            on_accepted=self._session_accepted,
            on_closed=self._session_closed,
        )
        if self.census is not None:
            self.census.enter(conn)
        self._sessions.add(session)
        self.board.gauge(Gauge.WEBSOCKETS, len(self._sessions))
        self._count_streams()
        session.start()

    def _application_of(self, message: WebSocketHandoff) -> Application:
        """What a WebSocket calls."""
        return self.app if self.observer is None else self.observer.calling(self.app, message)

    def _session_accepted(self, session: WebSocketSession) -> None:
        """The application has accepted."""
        self.board.count(Count.WEBSOCKETS_OPENED)
        if self.observer is not None:
            self.observer.accepted(session.handoff)

    def _session_closed(self, session: WebSocketSession, reason: EndReason, code: int) -> None:
        if self.observer is not None:
            since, status = session.started_at, session.status
            self.observer.websocket_closed(
                session.conn, session.handoff, reason, code, status=status, since=since
            )
        self._sessions.discard(session)
        self._count_streams()
        self._count_session(session, reason)
        if self.access_log.enabled:
            handoff = session.handoff
            self.access_log.tell(
                "websocket",
                handoff.head,
                handoff.trace,
                handoff.origin.client,
                status=session.status,
                body_bytes=session.conn.sent_bytes,
                duration=time.monotonic() - session.started_at,
            )
        self._check_drained()

    # until it is found to be a stream, what runs here is a request

    def unfinished(self) -> Iterator[Exchange]:
        """Those that an operator calls streams (--stream) are: a long poll may be silent for as long as it likes."""
        return (exchange for exchange in super().unfinished() if not self._claims.is_given(exchange))

    def started(self, connection: Connection, exchange: Exchange) -> None:
        super().started(connection, exchange)
        self._count_requests(exchange, is_one=not exchange.is_stream and not exchange.encoder.complete)

    def held_up(self, exchange: Exchange) -> None:
        self._count_requests(exchange, is_one=False)

    def goes_on(self, exchange: Exchange) -> None:
        if exchange in self.calls.all and not exchange.is_stream and not exchange.encoder.complete:
            self._count_requests(exchange, is_one=True)

    def finished(self, connection: Connection, exchange: Exchange, reason: EndReason) -> None:
        super().finished(connection, exchange, reason)
        self._claims.finished(exchange, reason)
        self._count_requests(exchange, is_one=False)

    def _count_requests(self, exchange: Exchange, *, is_one: bool) -> None:
        if self.census is None:
            return
        if is_one:
            self._requests.add(exchange)
        else:
            self._requests.discard(exchange)
        self.census.set(CensusKind.REQUESTS, len(self._requests))

    def rescue(self) -> None:
        """Nothing can be rescued: whoever holds up the streams is named."""
        task = asyncio.current_task(self.loop)
        calls = [one.exchange for one in list(self.connections) if one.state is State.RUNNING]
        for exchange in calls:
            if exchange is not None and (
                exchange.task is task or exchange.task is None
            ):  # None: its first step
                self._claims.report_busy(exchange)
                return

    def _count_session(self, session: WebSocketSession, reason: EndReason) -> None:
        seconds = time.monotonic() - session.started_at
        self.count(reason)
        self.board.gauge(Gauge.WEBSOCKETS, len(self._sessions))
        self.count_traffic(session.conn)
        if session.status == 101:
            self.board.stream_ended[reason] += 1
            self.board.observe(Histogram.STREAM, seconds)
        else:
            self.board.responded(session.status, seconds)

    def occupant(self, task: "asyncio.Task[Any]") -> Occupant | None:
        """A request or WebSocket. Called from another thread, while the loop stands still."""
        session = next((one for one in list(self._sessions) if one.runs_in(task)), None)
        return session.occupant() if session is not None else super().occupant(task)

    def stream_found(self, exchange: Exchange, pattern: str) -> None:
        """The workers should know, so that the plain requests of such a path meet it here."""
        self._learn(pattern, True)
        self._count_requests(exchange, is_one=False)

    def closed(self, connection: Connection, reason: EndReason) -> None:
        super().closed(connection, reason)
        self._refused.discard(connection)
        self._count_streams()
        if reason is not EndReason.HANDED_OFF:  # `idle` looks when the lot has it: until then nobody seems to
            self._check_drained()

    def returned(self, exchange: Exchange) -> None:
        super().returned(exchange)
        self._count_requests(exchange, is_one=False)
        self._check_drained()

    # connections that go back to the workers

    def idle(self, connection: Connection) -> Outcome:
        conn, buffered = connection.release()
        if buffered or not self._parks:
            self._lot.give_back(conn, connection.deadline, buffered)
        else:
            self._lot.park(conn, connection.deadline)
        self._check_drained()
        return Outcome.ELSEWHERE

    # drain

    def busy(self) -> bool:
        return super().busy() or bool(self._sessions) or bool(self._lot)

    def _check_drained(self) -> None:
        if self._finishing and self._drain is not None and not self.busy():
            self._drained.set()

    def sweep(self, now: float) -> None:
        end_overdue(self, "--request-timeout, which counts until the response is found to be a stream")
        for pattern in self._claims.take():
            self._learn(pattern, False)
        super().sweep(now)
        for session in list(self._sessions):
            session.check_deadlines(now)
            self.count_traffic(session.conn)
        if self._ws_memory.much_was_freed():
            return_free_memory()
        self.board.gauge(Gauge.PARKED, len(self._lot))
        self.board.put(Count.UNDECODABLE, self._handoffs.undecodable)
        for reason in self._lot.sweep(now):
            self.count(reason)
        if self._drain is not None:
            self._sweep_drain(self._drain, now - self._drain_began)

    def _sweep_drain(self, drain: DrainParams, age: float) -> None:
        if not drain.adopt:
            self.close_idle()
        # What was not answered yet is no stream to be ended but a request: to end it would be to refuse it. It has the
        # time of requests, less what its end may take, and is ended once it has become a stream.
        answer_by = max(drain.stream_grace, drain.graceful_timeout - END_TIMEOUT - CLOSE_TIMEOUT)
        spread = min(END_SPREAD, drain.stream_grace * END_SPREAD_SHARE)
        if age >= drain.stream_grace:
            self._end_streams(age - drain.stream_grace, spread, also_unanswered=age >= answer_by)
        end_by = max(drain.stream_grace + spread, answer_by if self._any_unanswered() else 0.0)
        if age >= end_by + END_TIMEOUT + CLOSE_TIMEOUT and self._finishing:
            for session in list(self._sessions):
                session.abort()
            self._lot.close()
            self.cut_all()
            self._drained.set()
        self._check_drained()

    def _any_unanswered(self) -> bool:
        return any(session.unanswered for session in self._sessions) or any(
            connection.unanswered for connection in self.connections
        )

    def _end_streams(self, late: float, spread: float, *, also_unanswered: bool) -> None:
        """Tell the streams that they are over: WebSocket 1012 (Service Restart), event streams at an event boundary.

        Not all at once but, `late` seconds after their time, that share of them which `spread` seconds allow: their
        clients will be back at once, and must not come as one wave.
        """
        share = 1.0 if late >= spread else late / spread
        for session in list(self._sessions):
            if _lot_of(session) <= share and (also_unanswered or not session.unanswered):
                session.shutdown(1012, "service restart")
        for connection in list(self.connections):
            if _lot_of(connection) <= share and (also_unanswered or not connection.unanswered):
                connection.end_stream()


def _lot_of(stream: object) -> float:
    """A number from 0 to 1 that a stream keeps."""
    return (id(stream) >> 4) * 2654435761 % 2**32 / 2**32
