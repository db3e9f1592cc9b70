"""How the application is called for a request whose head is complete, and what its response and its end mean.

Promises: the application runs without the lock of connections and in a context of its own; a call that never waits is
finished when `_run` returns; if it ends without a complete response, the client gets an error or a connection that is
cut, and the error is reported.
"""

import asyncio
import math
import time
from functools import partial
from typing import Final

from hsrv.board.layout import Histogram
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason
from hsrv.http.bodies import BodyConnection
from hsrv.http.request.exchange import Exchange
from hsrv.http.request.failure import error_of, follows_from_disconnect, let_go
from hsrv.http.request.pace import Pace
from hsrv.http.states import Event, State
from hsrv.http.wire.body import body_decoder
from hsrv.http.wire.response import ResponseEncoder
from hsrv.ipc.messages import Trace
from hsrv.logs.logging import current_trace
from hsrv.net import eager
from hsrv.net.context import at_end

_CALLED: Final = Event.CALLED
_COMPLETED: Final = EndReason.COMPLETED
"""Used for every request, as in `hsrv.http.connection`."""


class CallingConnection(BodyConnection):
    """A connection that calls the application."""

    __slots__ = ()

    def _begin_late(self, head: RequestHead, trace: Trace) -> None:
        """Serve a request that had to wait, here or in another process."""
        now = time.monotonic()
        if trace.received_at:
            self.host.board.observe(Histogram.QUEUE_WAIT, now - trace.received_at)
        self._begin(head, trace, now)

    def _begin(self, head: RequestHead, trace: Trace, now: float = 0.0) -> None:
        settings = self.host.settings
        now = now or trace.received_at
        decoder = body_decoder(head, settings.limit_request_body)
        encoder = ResponseEncoder(head.method, head.http_version, head.keep_alive)
        exchange = self.exchange = Exchange(self, head, trace, decoder, encoder, started_at=now)
        if decoder.done:
            if self.buffer:  # more requests, whose responses leave together
                self.conn.outbox.begin(several=True)
            self._run(exchange)
            return
        self.move(Event.BODY_AWAITED)
        exchange.pace = Pace(settings.body_min_rate, settings.body_timeout)
        if head.expect_continue or (head.content_length or 0) > settings.body_buffer:
            self._run(exchange)
        else:
            self._read_body()

    def _run(self, exchange: Exchange) -> None:
        self.move(_CALLED)
        self.deadline = math.inf
        bodiless = exchange.decoder.done
        if not bodiless:
            self._watch_body()
            self._read_ahead()
            if self.exchange is not exchange:
                return  # the body is malformed and was refused
        host = self.host
        context = host.context.copy()
        context.run(current_trace.set, exchange.trace)
        head = exchange.head
        exchange.scope = host.scopes.http(head, self.conn.origin, host.state)
        peer = self.peer or self._name_peer()
        if exchange.pace is not None:
            exchange.busy_since = time.monotonic()  # to read the first of it took the client's time
        outbox = self.conn.outbox
        if outbox.waiting and outbox.overdue(exchange.busy_since + host.call_times.expected(head.raw_path)):
            outbox.flush()
        host.board.begin(exchange.busy_since, head.method, head.raw_path, exchange.trace.request_id, peer)
        host.turn.release()
        try:
            task = exchange.task = eager.start(host.call(exchange), self._loop, context)
        finally:
            host.turn.acquire()
        host.board.paused()
        if outbox.open:
            seconds = time.monotonic() - exchange.busy_since
            host.call_times.took(head.raw_path, seconds)
            if seconds >= host.long_after:
                host.delegate.lasted(self, exchange, seconds)
        if task.done():
            self._on_returned(exchange, task)
            if exchange.begun_at:
                host.returned(exchange)  # it may have been found to be a stream meanwhile
        else:
            host.started(self, exchange)
            at_end(task, partial(self._on_task_done, exchange))
        if bodiless and self.exchange is exchange and not self.conn.reading:
            self._read_on()  # not before: until it waits, it can't be told anything

    def _name_peer(self) -> bytes:
        client = self.conn.origin.client
        self.peer = client[0].encode() if client is not None else b"-"
        return self.peer

    def _on_task_done(self, exchange: Exchange, task: "asyncio.Task[None]") -> None:
        with self.host.turn:
            self._on_returned(exchange, task)
            self.host.returned(exchange)

    def _on_returned(self, exchange: Exchange, task: "asyncio.Task[None]") -> None:
        """The application returned, raised or was cancelled."""
        exchange.task = None  # an error in it leads by its traceback back to the exchange: a cycle
        error = error_of(task)
        if error is not None:
            self._end_call(exchange, error)
            let_go(error)
        elif not exchange.encoder.complete:  # else all is well
            self._end_call(exchange, None)

    def _end_call(self, exchange: Exchange, error: BaseException | None) -> None:
        cancelled = isinstance(error, asyncio.CancelledError)  # by us, or raised by the application itself
        if exchange.encoder.complete or exchange.gone:
            failed = error is not None and not cancelled
            if failed and not (exchange.released and follows_from_disconnect(error)):
                self.host.report_app_error(exchange, error)
            return
        if (error is None or cancelled) and (exchange.half_closed or exchange.ending):
            self.cut(EndReason.CLIENT_GONE if exchange.half_closed else EndReason.DRAINED)
            return  # it was told http.disconnect: to return is the right answer
        self.host.report_app_error(exchange, error)
        if exchange.encoder.started:
            self.exchange = None
            exchange.client_gone()  # tasks of the application's may still wait for something
            self.host.finished(self, exchange, EndReason.APP_ERROR)
            self.abort(EndReason.APP_ERROR)
        else:
            self._answer(exchange, 500, "Internal Server Error")

    # writing (ExchangeConnection)

    def response_begun(self) -> None:
        """Part of the response is written and more will follow. (`ExchangeConnection`, once)"""
        if self.exchange is not None:
            self.host.response_begun(self, self.exchange)

    def response_complete(self) -> None:
        """The application has sent its response whole. (`ExchangeConnection`)"""
        if self.conn.pending_bytes and not (self.buffer and self._shares_turn()):
            self.move(Event.RESPONSE_KEPT)
            self.conn.on_flushed = self._on_flushed
        else:
            self._after_response()

    def held_up(self, exchange: Exchange) -> None:
        """The application call waits for its client. (`ExchangeConnection`)"""
        self.host.delegate.held_up(exchange)

    def goes_on(self, exchange: Exchange) -> None:
        """It does so no more. (`ExchangeConnection`)"""
        self.host.delegate.goes_on(exchange)

    def client_lost(self) -> None:
        """A write failed. (`ExchangeConnection`)"""
        self.cut()

    def overdue(self) -> None:
        """The application has taken too long for its response. (`ExchangeConnection`)"""
        exchange = self.exchange
        if exchange is None or exchange.encoder.started:
            self.cut(EndReason.REQUEST_TIMEOUT)
        else:
            self._answer(exchange, 504, "Gateway Timeout")

    def _shares_turn(self) -> bool:
        """The response leaves at the end of this turn, and the next request is here: their responses leave together."""
        exchange, conn = self.exchange, self.conn
        if exchange is None or not exchange.decoder.done or not self.host.keeps_idle:
            return False
        return conn.outbox.dispatching and conn.only_gathered

    def finish_sent(self) -> None:
        """Called in another thread, while the loop is blocked: if another thread has sent the response meanwhile, the
        connection is between two requests and may be moved. The host hears of it from the loop's thread."""
        exchange, conn = self.exchange, self.conn
        if self.state is not State.WRITING or exchange is None or self.buffer or not conn.all_sent:
            return
        if (
            exchange.encoder.keep_alive
            and exchange.decoder.done
            and not (exchange.half_closed or self.host.closing)
        ):
            conn.on_flushed = None
            conn.settle()
            self.exchange = None
            self.served += 1
            self.move(Event.FINISHED)
            self.deadline = self._loop.time() + self.host.settings.keep_alive
            conn.outbox.later(partial(self.host.finished, self, exchange, _COMPLETED))

    def _on_kept(self) -> None:
        """The client doesn't take responses that were to leave together. They are finished; only no other request is
        served, and the connection goes nowhere, before it has them."""
        if self.state is State.IDLE or self.state is State.READING:
            self.move(Event.RESPONSE_KEPT)
            self.deadline = math.inf
            self.conn.on_flushed = self._on_flushed

    def _on_flushed(self) -> None:
        self.conn.on_flushed = None
        if self.state is not State.WRITING:
            return
        if self.exchange is None:
            self._become_idle()
        else:
            self._after_response()

    def _after_response(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        self.host.finished(self, exchange, _COMPLETED)
        self.served += 1
        if not exchange.encoder.keep_alive or exchange.half_closed or self.host.closing:
            self._close_politely()
        elif exchange.decoder.done:
            self._become_idle()
        else:
            self.move(Event.BODY_LEFT)
            self.discarded = 0
            self.deadline = self._loop.time() + self.host.settings.body_timeout
            self._discard()
