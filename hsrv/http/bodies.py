"""How the body of a request is read: before its application is called, while it runs, and when the rest is dropped.

Promises: no more is kept than --body-buffer and PIPELINE_LIMIT; what takes long to interpret is put off, slice by slice
(`hsrv.http.backlog`); a client is timed only while the next bytes are its turn.
"""

import math
from typing import Final

from hsrv.common.errors import ClientError
from hsrv.common.terms import EndReason
from hsrv.http.contract import Host
from hsrv.http.moving import MovingConnection
from hsrv.http.request.exchange import DISCARD_LIMIT, Exchange
from hsrv.http.states import State
from hsrv.net.conn import Conn

PIPELINE_LIMIT: Final = 64 * 1024
"""Bytes read ahead of the request that runs. At this limit reading stops until the response is complete."""


class BodyConnection(MovingConnection):
    """A connection that reads the body of its request."""

    __slots__ = ("_feed_due", "discarded")

    def __init__(self, conn: Conn, host: Host) -> None:
        super().__init__(conn, host)
        self.discarded = 0
        """Bytes of the body that is read and dropped in state DISCARDING."""
        self._feed_due = False
        """More of the body was read than may be interpreted at once. Nothing is read before that is done."""

    def _run(self, exchange: Exchange) -> None:
        """Call the application."""
        raise NotImplementedError

    def _become_idle(self) -> None:
        """Request and response are over."""
        raise NotImplementedError

    def _read_on(self) -> None:
        """Unless enough is there that has to be served first."""
        if len(self.buffer) < PIPELINE_LIMIT:
            self.conn.watch(self._on_readable)

    def _read_body(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        room = self.host.settings.body_buffer
        try:
            self._feed(exchange, room)
        except ClientError as error:
            self._refuse(error)
            return
        if exchange.decoder.done or len(exchange.body) >= room or exchange.head.chunked:
            self._run(exchange)  # what comes in chunks may be half of a dialogue
        else:
            now = self._loop.time()
            if exchange.pace is not None and not self._feed_due:
                exchange.pace.run(now)
            self.deadline = now + self.host.settings.body_timeout
            self._watch_body()  # it may have waited for a place with a full buffer, unread

    def _read_ahead(self) -> None:
        """Bytes came while a request waits or runs: its body, or later requests."""
        exchange = self.exchange
        if self._feed_due:
            return
        if exchange is not None and not exchange.decoder.done:
            try:
                self._feed(exchange, self.host.settings.body_buffer)
            except ClientError as error:
                self._refuse(error)
                return
            now = self._loop.time()
            self.deadline = now + self.host.settings.body_timeout
            if len(exchange.body) >= self.host.settings.body_buffer and not exchange.decoder.done:
                self.conn.unwatch()
                if exchange.pace is not None:
                    exchange.pace.pause(now)
        if len(self.buffer) >= PIPELINE_LIMIT:
            self.conn.unwatch()

    def _feed(self, exchange: Exchange, room: int) -> None:
        """Decode what was read of the body, or a part of it that takes little time. Raises ClientError."""
        exchange.feed(self.buffer, room)
        if exchange.decoder.paused and len(exchange.body) < room and not self._feed_due:
            self._feed_due = True
            self.conn.unwatch()
            if exchange.pace is not None:
                exchange.pace.pause(self._loop.time())
            self.host.backlog.add(self._feed_on)

    def _feed_on(self) -> None:
        """The next part."""
        self._feed_due = False
        if self.state is State.BODY:
            self._read_body()
        elif self.state is State.RUNNING or self.state is State.WRITING:
            self._read_ahead()
            self._read_more()
        elif self.state is State.DISCARDING:
            self._discard()

    def _read_more(self) -> None:
        """Unless there is more to interpret, or for the application to take."""
        exchange = self.exchange
        if exchange is None or self._feed_due or len(exchange.body) >= self.host.settings.body_buffer:
            return
        self._read_on()
        if exchange.pace is not None:
            exchange.pace.run(self._loop.time())

    def _watch_body(self) -> None:
        """Read more, unless what was read is enough for now."""
        if not self._feed_due:
            self.conn.watch(self._on_readable)

    def body_taken(self) -> None:
        """The application took the body bytes that waited: make room for more. (`ExchangeConnection`)"""
        if self.buffer:
            self._read_ahead()
        if self.state is State.RUNNING and self.exchange is not None and not self.exchange.half_closed:
            now = self._loop.time()
            self.deadline = now + self.host.settings.body_timeout
            self._watch_body()
            if self.exchange.pace is not None and not self._feed_due:
                self.exchange.pace.run(now)

    def body_awaited(self) -> None:
        """The application waits for body bytes: from now on, at the latest, their client is timed.
        (`ExchangeConnection`)"""
        exchange = self.exchange
        if exchange is not None and exchange.pace is not None:
            now = self._loop.time()
            if not self._feed_due:
                exchange.pace.run(now)
            if self.deadline == math.inf:
                self.deadline = now + self.host.settings.body_timeout

    def _discard(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        try:
            self.discarded += len(exchange.body)
            exchange.body.clear()
            self._feed(exchange, DISCARD_LIMIT)
        except ClientError:
            self._close_politely()
            return
        if exchange.decoder.done:
            self._become_idle()
        elif self.discarded + len(exchange.body) >= DISCARD_LIMIT:  # a body in chunks has no end in sight
            self._close_politely()
        else:
            self._watch_body()

    def _awaits_body(self, exchange: Exchange) -> bool:
        """Whether nothing goes on before more of the body has come. Once the response has begun, both sides talk, and
        how fast is their matter."""
        if self.state is State.RUNNING:
            return exchange.waits_for_body and not exchange.encoder.started
        return self.state is State.BODY

    def _check_pace(self, exchange: Exchange, now: float) -> None:
        if exchange.pace is not None and exchange.pace.too_slow(now):
            self._refuse(ClientError(408, "the request body arrived too slowly"), EndReason.BODY_RATE)

    def _refuse_body(self) -> None:
        self._refuse(ClientError(408, "the request body did not arrive in time"), EndReason.BODY_TIMEOUT)
