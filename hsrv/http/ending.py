"""How a connection ends: refused, answered by the server, lingering, lost, cut or closed.

Promises: an application that runs for it is told that its client is gone; a cut response doesn't look complete;
an answer that the client may not have read yet isn't destroyed by a reset; the host hears of the end once.
"""

import math
from collections.abc import Sequence
from typing import Final

from hsrv.common.errors import ClientDisconnected, ClientError
from hsrv.common.terms import EndReason
from hsrv.http.contract import Connection
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import OVER, Event, State
from hsrv.http.wire.response import UNAVAILABLE, simple_response

LINGER_TIMEOUT: Final = 2.0
"""Seconds to read and drop what a refused client still sends. Closing at once would make the kernel reset the
connection and destroy the answer on its way (RFC 9112 section 9.6)."""


class EndingConnection(Connection):
    """A connection as far as its end goes."""

    __slots__ = ()

    def _refuse(
        self, error: ClientError, cause: EndReason = EndReason.PROTOCOL_ERROR, *, head_only: bool = False
    ) -> None:
        """Answer a request that can't be served. Nothing after it is interpreted.

        `head_only`: it was a HEAD, as far as its head can be read. The answer to that has no content.
        """
        exchange = self.exchange
        self.cause = cause
        self.host.refused(self, error, cause)
        if exchange is None or not exchange.encoder.started:
            self._answer(exchange, error.status, str(error), error.headers, head_only=head_only)
        else:
            self.cut()

    def answer_unavailable(self) -> None:
        self._answer(None, *UNAVAILABLE)

    def _answer(
        self,
        exchange: Exchange | None,
        status: int,
        text: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        head_only: bool = False,
    ) -> None:
        head_only |= self.waiting is not None and self.waiting[0].method == "HEAD"
        self.waiting = None
        if exchange is not None:
            exchange.client_gone()  # nothing that the application still sends has a reader
            exchange.encoder.status = status
            self.host.finished(self, exchange, EndReason.COMPLETED)
            head_only = exchange.head.method == "HEAD"
        lines = self.host.default_headers()
        try:
            self.conn.write(simple_response(status, text, lines, head_only=head_only, headers=headers))
        except ClientDisconnected:
            self.close(EndReason.CLIENT_GONE)
        else:
            self._linger()

    def _close_politely(self) -> None:
        exchange = self.exchange
        if self.buffer or (exchange is not None and not exchange.decoder.done):
            self._linger()
        else:
            self.close(EndReason.COMPLETED)

    def _linger(self) -> None:
        """Send nothing more, and read until the client has closed its side."""
        self.exchange = None
        self.buffer.clear()
        self.move(Event.LAST_SAID)
        self.deadline = self._loop.time() + LINGER_TIMEOUT
        self.conn.watch(self._on_readable)
        if self.conn.pending_bytes:
            self.conn.on_flushed = self.conn.finish_writing
        else:
            self.conn.finish_writing()

    def _on_broken(self) -> None:
        """Writing failed outside of a call that could raise."""
        if self.state is State.RUNNING or self.state is State.WRITING:
            self.cut()
        else:
            self.close(EndReason.CLIENT_GONE)

    def cut(self, reason: EndReason = EndReason.CLIENT_GONE) -> None:
        """The client is gone, or to be cut in any state: the application, if it runs, is told and goes on alone."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
            if self.state is not State.DISCARDING:
                self.host.finished(self, exchange, reason)
        self.abort(reason)

    def abort(self, reason: EndReason) -> None:
        self.conn.abort()
        self.close(reason)

    def close(self, reason: EndReason) -> None:
        """Close, from any state. May be called again."""
        if self.state in OVER:
            return
        self.move(Event.ENDED)
        self.deadline = math.inf
        self.waiting = None
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self.conn.close()
        self.host.closed(self, reason)
