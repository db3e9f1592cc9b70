"""What the connections of one process share, and the decisions they leave to it.

Owns the set of connections, the application calls that are not finished, and the sweep that keeps their deadlines.
Its delegate, a `hsrv.worker.worker.Worker` or `hsrv.asyncpool.pool.AsyncPool`, decides where a request runs and what is
done with an idle connection. For a connection it is a `hsrv.http.contract.Host`.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from math import inf
from typing import Any, Final

from hsrv.board.census import Census
from hsrv.board.layout import Count, Gauge, Histogram, Occupant
from hsrv.board.scoreboard import Scoreboard
from hsrv.common.asgi import Application
from hsrv.common.errors import ClientError
from hsrv.common.terms import EndReason, Identity
from hsrv.events.collectors import Collectors
from hsrv.http.activity import Activity, activities
from hsrv.http.backlog import Backlog
from hsrv.http.connection import HTTPConnection
from hsrv.http.contract import Caller, Connection, Delegate, Host
from hsrv.http.emitter import EventEmitter
from hsrv.http.request.call import Call
from hsrv.http.request.calls import RunningCalls, occupant_of
from hsrv.http.request.calltimes import CallTimes
from hsrv.http.request.exchange import Exchange
from hsrv.http.request.scope import ScopeBuilder
from hsrv.http.states import State
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.http.wire.head import HeadLimits
from hsrv.http.wire.parser import choose_parser
from hsrv.http.wire.response import DefaultHeaders
from hsrv.ipc.messages import Trace
from hsrv.logs.accesslog import AccessLog, logged_status
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.conn import Conn
from hsrv.net.context import own_context, soon
from hsrv.net.poller import outbox_of, turn_of
from hsrv.net.sweep import Sweep
from hsrv.options.config import Config
from hsrv.system.descriptors import most_connections

FRESH_GRACE: Final = 1.0
"""Seconds that a drain leaves a new connection for its first request."""

log = get_logger("hsrv.http")


class HTTPHost(Host):
    """The connections of one process."""

    keeps_idle = True
    answers_half_closed = True

    def __init__(
        self,
        identity: Identity,
        config: Config,
        app: Application,
        loop: asyncio.AbstractEventLoop,
        board: Scoreboard,
        *,
        delegate: Delegate | None = None,
        census: Census | None = None,
        collectors: Collectors | None = None,
    ) -> None:
        self.identity = identity
        self.settings = config
        self.app = app
        self.loop = loop
        self.board = board
        self.delegate = delegate or Delegate()
        self.turn = turn_of(loop)
        self.observer = EventEmitter(collectors, self.turn) if collectors is not None else None
        self.backlog = Backlog(loop)
        outbox_of(loop).prepare()
        self.context = own_context(loop)
        self.state = {}
        self.parse = choose_parser(config.http)
        self.limits = HeadLimits(
            request_line=config.limit_request_line,
            head=config.limit_request_head,
            fields=config.limit_request_fields,
            body=config.limit_request_body,
            header_map=config.header_map,
        )
        self.scopes = ScopeBuilder(
            root_path=config.root_path,
            proxies=TrustedProxies(config.forwarded_allow_ips),
            extension=scope_extension(identity),
        )
        self.call_times = CallTimes()
        self.caller: Caller | None = None
        """Calls the application; None: it is an ASGI application."""
        self.send_timeout = config.send_timeout
        self.census = census
        """What all processes hold; None when no limit counts it."""
        self.most_connections = most_connections()
        """By descriptors, for this process."""
        self.closing = False
        self.connections: set[HTTPConnection] = set()
        self.calls = RunningCalls(board)
        self.default_headers = DefaultHeaders(time.time, server=config.server_header, date=config.date_header)
        self.access_log = AccessLog(config, partial(soon, loop))
        self.long_after = inf
        self.on_finished: Callable[[Exchange, EndReason], None] | None = None
        """Called at the end of each response, complete or cut."""
        self.sweeps = Sweep(loop, self.turn, self.sweep if delegate is None else delegate.sweep)

    def call_by(self, caller: Caller) -> None:
        """The application is of another kind."""
        self.caller = caller
        self.scopes = caller.scopes

    def no_thread(self, exchange: Exchange) -> None:
        """A call found no thread in time, and is answered with 503."""
        self.count(EndReason.NO_THREAD)
        self.board.count(Count.SHED)
        log.warning(
            "request shed",
            why="no thread became free in time",
            cause=EndReason.NO_THREAD,
            path=exchange.head.path,
            **trace_context(exchange.trace),
        )

    def call(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        call = Call(exchange).run(self.app) if self.caller is None else self.caller.call(exchange)
        return call if self.observer is None else self.observer.called(exchange, call)

    # sweep

    def sweep(self, now: float) -> None:
        """Act on every overdue deadline, and on responses that turn out to be long-lived."""
        for connection in list(self.connections):
            connection.check(now)
        if self.census is not None:
            self.census.forget_the_dead()
        for exchange in list(self.calls.all):
            long_open = exchange.begun_at and now - exchange.begun_at >= self.settings.stream_after
            if (
                long_open and not exchange.held_up
            ):  # a client that reads slowly makes no stream, and teaches nothing
                self._found_stream(exchange)
        self.tell_board()

    def tell_board(self) -> None:
        """Values that are not worth an update at each change."""
        board, idle, waiting = self.board, 0, 0
        for connection in self.connections:
            idle += connection.unused
            waiting += connection.state is State.WAITING
            self.count_traffic(connection.conn)
        board.gauge(Gauge.IDLE, idle)
        board.gauge(Gauge.WAITING, waiting)
        oldest = min(self.unfinished(), key=lambda exchange: exchange.busy_since, default=None)
        board.oldest(occupant_of(oldest) if oldest is not None else None)

    def unfinished(self) -> Iterator[Exchange]:
        """Application calls whose response is due within --request-timeout."""
        return filter(self.delegate.is_timed, self.calls.unfinished())

    def count_traffic(self, conn: Conn) -> None:
        """Count what was received and sent on a connection since the last time."""
        received, sent = conn.take_traffic()
        if received or sent:
            self.board.transferred(received, sent)

    def occupant(self, task: "asyncio.Task[Any] | None") -> Occupant | None:
        """The request that this task serves; with None, the one that runs in no task (WSGI). Called from another
        thread, while the loop is blocked."""
        if task is None:
            running = self.caller.running if self.caller is not None else None
            return occupant_of(running) if running is not None else None
        return self.calls.occupant(task)

    def _found_stream(self, exchange: Exchange) -> None:
        if self.calls.found_stream(exchange):
            if self.observer is not None:
                self.observer.stream_found(exchange)
            if self.caller is not None:
                self.caller.stream_found(exchange)
            self.delegate.stream_found(exchange, exchange.pattern())
            if exchange.half_closed:  # of a stream's client that is the only sign of its leaving
                exchange.link.client_lost()

    # what the operator is told

    def activities(self) -> list[Activity]:
        """Everything that has to end before this process can."""
        return list(activities(self.connections, self.calls.all, self.delegate.is_stream))

    # what connections report

    def count(self, reason: EndReason) -> None:
        """Something was cut, refused or ended: the one place where that is counted. Once per connection, and once more
        if it is handed on."""
        self.board.ended.add(reason)

    def response_begun(self, connection: Connection, exchange: Exchange) -> None:
        if self.observer is not None:
            self.observer.response_started(exchange)
        if exchange.encoder.event_stream:
            self._found_stream(exchange)

    def opened(self, connection: HTTPConnection) -> None:
        self.connections.add(connection)
        self.board.gauge(Gauge.CONNECTIONS, len(self.connections))
        if self.census is not None:
            self.census.enter(connection.conn)

    def closed(self, connection: Connection, reason: EndReason) -> None:
        if self.observer is not None and reason is not EndReason.HANDED_OFF:  # the sender reports that
            self.observer.closed(connection.conn, reason, connection.served)
        self.connections.discard(connection)
        if connection.cause is None:
            self.count(reason)
        self.board.gauge(Gauge.CONNECTIONS, len(self.connections))
        self.count_traffic(connection.conn)
        self.delegate.closed(connection, reason)

    def started(self, connection: Connection, exchange: Exchange) -> None:
        self.calls.add(exchange)
        self.delegate.started(exchange)

    def returned(self, exchange: Exchange) -> None:
        self.calls.remove(exchange)
        self.delegate.returned(exchange)

    def finished(self, connection: Connection, exchange: Exchange, reason: EndReason) -> None:
        if self.observer is not None:
            self.observer.ended(exchange, reason)
        encoder = exchange.encoder
        seconds = time.monotonic() - exchange.started_at
        if seconds >= self.long_after:
            self._took_long(connection, exchange)
        if exchange.is_stream:  # also when the call has returned already, and its last bytes still waited
            self.board.stream_ended[reason] += 1
            self.board.observe(Histogram.STREAM, seconds)
        else:
            self.board.responded(encoder.status, seconds)
        if self.access_log.enabled:
            client = connection.conn.origin.client
            self.access_log.tell(
                "http",
                exchange.head,
                exchange.trace,
                client,
                status=logged_status(encoder.status, reason, is_stream=exchange.is_stream),
                body_bytes=encoder.body_bytes,
                duration=seconds,
            )
        if reason is not EndReason.COMPLETED:
            log.info("response cut", reason=reason, path=exchange.head.path, **trace_context(exchange.trace))
        if self.on_finished is not None:
            self.on_finished(exchange, reason)

    def _took_long(self, connection: Connection, exchange: Exchange) -> None:
        """Unless the application or the client has waited meanwhile, or the response for the end of the turn."""
        first_step = exchange.task is None and connection.state is State.RUNNING
        if first_step and not connection.conn.outbox.open:
            self.delegate.lasted(connection, exchange, time.monotonic() - exchange.busy_since)

    def refused(self, connection: Connection, error: ClientError, cause: EndReason) -> None:
        if self.observer is not None:
            self.observer.refused(connection.conn.origin, error.status, str(error))
        self.board.count(Count.REFUSED)
        self.count(cause)
        if connection.exchange is None:
            self.board.responded(error.status, 0.0)  # else it is when the exchange is finished
        if count := lines_due("request refused", cause, error.status):
            client, why = connection.conn.origin.client, str(error)
            log.info(
                "request refused", status=error.status, reason=why, cause=cause, client=client, count=count
            )

    def proxy_refused(self, connection: Connection, why: str) -> None:
        if count := lines_due("proxy refused", why):  # one of a few sentences
            log.warning("proxy refused", reason=why, peer=connection.conn.origin.client, count=count)

    def report_app_error(self, exchange: Exchange, error: BaseException | None) -> None:
        self.board.count(Count.APP_ERRORS)
        context = {
            "method": exchange.head.method,
            "path": exchange.head.path,
            "response_started": exchange.encoder.started,
            **trace_context(exchange.trace),
        }
        if error is None:
            log.error("application returned without completing its response", **context)
        else:
            log.error("application raised", exc_info=error, **context)

    def waited_too_long(self, connection: Connection) -> None:
        self.shed(connection, "no place became free in time", EndReason.QUEUE_TIMEOUT)

    def shed(self, connection: Connection, why: str, cause: EndReason = EndReason.SHED) -> None:
        """Answer the request that waits with 503."""
        if self.observer is not None:
            self.observer.refused(connection.conn.origin, 503, why)
        self.count(cause)
        self.board.count(Count.SHED)
        connection.cause = cause
        head, trace = connection.waiting or (None, None)
        if trace is not None:
            self.board.responded(503, time.monotonic() - trace.received_at)
        log.warning(
            "request shed",
            why=why,
            cause=cause,
            path=head and head.path,
            **(trace_context(trace) if trace else {}),
        )
        connection.answer_unavailable()

    def leave(self) -> None:
        """Everything is over: write out the access log, and count for no limit any more."""
        self.sweeps.stop()
        self.access_log.flush()
        if self.census is not None:
            self.census.close()

    # drain

    def busy(self) -> bool:
        """Whether anything is still to be finished."""
        return bool(self.connections or self.calls.all)

    def close_idle(self) -> None:
        """Close connections that are between two requests, unless a request has arrived meanwhile.

        A connection that is quite new is given FRESH_GRACE to send its first: its client is about to.
        """
        fresh = self.loop.time() - FRESH_GRACE
        for connection in list(self.connections):
            if connection.unused:
                connection.look()
            if connection.unused and (connection.served or connection.opened_at < fresh):
                connection.close(EndReason.DRAINED)

    def cut_all(self) -> int:
        """Cut every connection and cancel every application call; the number of responses that were cut."""
        cut = 0
        for connection in list(self.connections):
            if connection.state not in (State.IDLE, State.PREFACE, State.LINGERING, State.DISCARDING):
                cut += 1
                log.warning("connection cut", state=connection.state.name, why="drain budget is over")
            connection.cut(EndReason.DRAINED)
        self.calls.cancel()
        return cut


def scope_extension(identity: Identity) -> dict[str, Any]:
    """`scope["extensions"]["hsrv"]`: which process this is."""
    return {
        "role": str(identity.role),
        "slot": identity.slot,
        "generation": identity.generation,
        "leader": identity.leader,
    }


def trace_context(trace: Trace) -> dict[str, str]:
    """The log context of a request."""
    if trace.traceparent is None:
        return {"request_id": trace.request_id}
    return {"request_id": trace.request_id, "traceparent": trace.traceparent}
