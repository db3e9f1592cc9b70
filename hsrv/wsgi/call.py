"""One call of a WSGI application: in the thread of the event loop, in another thread, or first here and then there.

Promises: the application is called once, with its body complete; `close()` of what it returned is called once, whatever
happens, in the thread that iterated last; all of a call runs in one context (PEP 567), also when it changes threads;
nothing but write() waits for a client while it holds the event loop. Never compiled, for the reason in
`hsrv.net.waiting`.

Why a call that turns out to be a stream changes threads, but no other does: what an application binds to a thread (a
database connection, an open transaction) doesn't follow. What is known to be a stream is called in a thread from the
start.
"""

import errno
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from functools import partial
from io import BytesIO
from typing import Any, Final, Protocol

from hsrv.common.errors import AppError, ClientDisconnected
from hsrv.http.request.exchange import Exchange
from hsrv.net.conn import LOW_WATER
from hsrv.net.hiding import hide_loop, show_loop
from hsrv.options.config import Config
from hsrv.wsgi.bridge import Bridge
from hsrv.wsgi.files import FileWrapper, part_of
from hsrv.wsgi.inthread import InThread
from hsrv.wsgi.response import Response
from hsrv.wsgi.spool import read_body
from hsrv.wsgi.threads import Crew

WSGIApplication = Callable[[Any, Any], Iterable[bytes]]

_END: Final = object()


class Process(Protocol):
    """What a call needs of the process that it is in."""

    app: WSGIApplication
    crew: Crew
    settings: Config
    running: Exchange | None
    """The call that runs on the loop's thread now, outside of any task."""


class WSGICall:
    """The application's end of an exchange."""

    __slots__ = ("_exchange", "_of", "_patience", "lent")

    def __init__(self, of: Process, exchange: Exchange, patience: float | None) -> None:
        """`patience`: seconds to wait for a thread; None: it takes one only once it is found to be a stream."""
        self._of = of
        self._exchange = exchange
        self._patience = patience
        self.lent = False
        """Its thread is lent to it (`Crew.lend`)."""

    async def run(self) -> None:
        """Read the body, call the application, send what it returns."""
        exchange = self._exchange
        body: Any = None
        if exchange.head.has_body:
            body = await self._read_body(exchange)
            if body is None:
                return
        exchange.scope["wsgi.input"] = body or BytesIO()
        try:
            if self._patience is not None:
                await InThread(exchange, self._of.crew, copy_context(), self._produce, self._patience).run()
            else:
                await self._run_here(exchange)
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the process for one request
            raise AppError(f"the application tried to exit: {error!r}") from error
        finally:
            if body is not None:
                body.close()
            if self.lent:
                self._of.crew.give_back()

    async def _read_body(self, exchange: Exchange) -> Any:
        try:
            spool = await read_body(exchange, self._of.settings)
        except OSError as error:
            raise AppError(f"the request body could not be stored: {error}") from error
        if spool is None:
            return None
        exchange.scope["CONTENT_LENGTH"] = str(spool.rewind())
        return spool.file

    async def _run_here(self, exchange: Exchange) -> None:
        """In the thread of the loop, at least until it is found to be a stream."""
        context = copy_context()
        wait = partial(_wait_here, exchange, self._of.settings.send_timeout)
        response = Response(exchange.scope, exchange.take, wait)
        exchange.scope["wsgi.early_hints"] = response.early_hints
        of = self._of
        hidden = hide_loop()
        of.running = exchange
        try:
            rest = self._start_here(context, exchange, response)
        finally:
            of.running = None
            show_loop(*hidden)
        if rest is not None:
            await InThread(exchange, self._of.crew, context, partial(_go_on, response, *rest)).run()

    def _start_here(
        self, context: Context, exchange: Exchange, response: Response
    ) -> tuple[Any, Iterator[bytes]] | None:
        """What was returned, and its iterator, if there is more of it, for a thread."""
        run = context.run
        iterable = run(self._of.app, exchange.scope, response)
        goes_on = False
        try:
            if _sent_whole(iterable, response):
                return None
            iterator = run(iter, iterable)
            goes_on = _iterate_here(run, iterator, exchange, response, self._of.settings.stream_after)
            return (iterable, iterator) if goes_on else None
        finally:
            if not goes_on:
                close = getattr(iterable, "close", None)
                if close is not None:
                    run(close)

    def _produce(self, bridge: Bridge) -> None:
        """All of the call, in another thread, unless nobody waits for it any more."""
        if bridge.is_stopped:
            return
        environ = self._exchange.scope
        response = Response(environ, bridge.send, _no_wait)
        environ["wsgi.early_hints"] = response.early_hints
        iterable = self._of.app(environ, response)
        try:
            if not _sent_whole(iterable, response):
                _iterate(iter(iterable), response, bridge)
        finally:
            _close(iterable)


def _go_on(response: Response, iterable: Any, iterator: Iterator[bytes], bridge: Bridge) -> None:
    """The rest of what was begun in the thread of the loop."""
    response.redirect(bridge.send, _no_wait)
    try:
        _iterate(iterator, response, bridge)
    finally:
        _close(iterable)


def _sent_whole(iterable: Any, response: Response) -> bool:
    """Whether all of the body was there at once."""
    kind = type(iterable)
    if kind is list or kind is tuple:
        return response.whole(iterable)
    if kind is FileWrapper and not response.wrote:
        part = part_of(iterable)
        if part is not None:
            response.file(*part)
            return True
    return False


def _iterate_here(
    run: Callable[..., Any],
    iterator: Iterator[bytes],
    exchange: Exchange,
    response: Response,
    patience: float,
) -> bool:
    """Send the blocks, for up to `patience` seconds. True: there may be more of them, for a thread."""
    latest = 0.0
    while True:
        data = run(next, iterator, _END)
        if data is _END:
            response.finish()
            return False
        if not data:
            response.check(data)
            continue
        is_slow = response.chunk(data)
        if response.complete:
            continue  # what is left is only to say that there is no more
        if exchange.released:
            return False  # it was a HEAD, or the like
        if is_slow or response.event_stream:
            return True
        now = time.monotonic()
        latest = latest or now + patience
        if now >= latest:
            return True


def _iterate(iterator: Iterator[bytes], response: Response, bridge: Bridge) -> None:
    """Send the blocks, until there are no more or nobody wants more: what sends nothing hears of it too."""
    while not bridge.is_stopped:
        data = next(iterator, _END)
        if data is _END:
            response.finish()
            return
        if data:
            response.chunk(data)
        else:
            response.check(data)


def _close(iterable: Any) -> None:
    close = getattr(iterable, "close", None)
    if close is not None:
        close()


def _no_wait() -> None:
    """Whoever sends from a thread has waited already."""


def _wait_here(exchange: Exchange, patience: float) -> None:
    """write() has no other way to slow down an application."""
    conn = exchange.link.conn
    poll = select.poll()
    poll.register(conn.fd, select.POLLOUT)
    while conn.pending_bytes > LOW_WATER:
        if not poll.poll(patience * 1000):
            raise ClientDisconnected(errno.ETIMEDOUT, "the client takes nothing")
        with exchange.link.host.turn:
            conn.go_on_writing()
