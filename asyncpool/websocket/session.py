"""One WebSocket: the application's call for an upgrade request that was handed off.

Owns the task of the application and, through its link, the connection. Promises: the application is called
once, in a context of its own; it always receives the end as `websocket.disconnect`; a message that is not allowed in
its state raises in its `send()`; the pool is notified once, when both the connection and the call are over. Must not
touch the socket: the link does.

Spec: ASGI WebSocket 2.5, https://asgi.readthedocs.io/en/latest/specs/www.html#websocket
"""

import asyncio
import errno
import time
from collections.abc import Callable
from typing import Any, Final

from hsrv.asyncpool.websocket.aftermath import is_aftermath
from hsrv.asyncpool.websocket.appmessages import close_of, kind_of
from hsrv.asyncpool.websocket.codecs.codec import choose_codec
from hsrv.asyncpool.websocket.codecs.events import ABNORMAL, INTERNAL_ERROR, NORMAL, SERVICE_RESTART, Close
from hsrv.asyncpool.websocket.handshake import accept_response, deflate_terms
from hsrv.asyncpool.websocket.link import WebSocketLink
from hsrv.asyncpool.websocket.memory import MessageMemory
from hsrv.asyncpool.websocket.settings import HANDSHAKE_TIMEOUT, WebSocketSettings
from hsrv.asyncpool.websocket.states import APP_STATES, AppMessage, AppState, ConnectionState
from hsrv.board import stacks
from hsrv.board.layout import Occupant
from hsrv.common.asgi import Application, Message, Scope
from hsrv.common.errors import AppError, ClientDisconnected
from hsrv.common.globs import pattern_of
from hsrv.common.tables import Machine
from hsrv.common.terms import EndReason
from hsrv.http.activity import Activity
from hsrv.http.backlog import Backlog
from hsrv.http.request.failure import error_of, let_go
from hsrv.http.wire.response import ResponseEncoder, simple_response
from hsrv.ipc.messages import WebSocketHandoff
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import current_trace, get_logger
from hsrv.net.conn import HIGH_WATER, Conn
from hsrv.net.context import own_context

__all__ = ["WebSocketSession", "WebSocketSettings"]

FAIR_BURST: Final = 64
"""Messages that one application may send or receive before other streams get a turn of the loop. Without it, an
application whose next message is always ready would never yield."""

DISCONNECTS: Final = 100
"""Times that `receive()` returns `websocket.disconnect` without a pause: each of several receiving tasks gets it."""

DISCONNECT_PAUSE: Final = 1.0
"""Seconds that `receive()` takes after those: an application that still calls it does so in a loop."""

_ACCEPTED: Final = AppState.ACCEPTED
"""Read for every message. Up to Python 3.11 a member of an enum costs ten times what a global does."""

log = get_logger("hsrv.asyncpool.websocket")


class WebSocketSession:
    """One WebSocket of this pool, from the handoff to the end of both the connection and the application."""

    __slots__ = (
        "_app",
        "_burst",
        "_connect",
        "_defaults",
        "_disconnects",
        "_encoder",
        "_link",
        "_loop",
        "_on_accepted",
        "_on_closed",
        "_pattern",
        "_scope",
        "_settings",
        "_state",
        "_task",
        "_waiters",
        "conn",
        "handoff",
        "started_at",
        "status",
    )

    def __init__(
        self,
        conn: Conn,
        handoff: WebSocketHandoff,
        scope: Scope,
        app: Application,
        settings: WebSocketSettings,
        *,
        loop: asyncio.AbstractEventLoop,
        backlog: Backlog,
        memory: MessageMemory,
        defaults: Callable[[], bytes],
        on_accepted: "Callable[[WebSocketSession], None]",
        on_closed: "Callable[[WebSocketSession, EndReason, int], None]",
    ) -> None:
        """`defaults`: the server's own header lines. `on_accepted`: called once it is open. `on_closed(session,
        reason, close code)`: called once, when the connection is closed and the application has returned."""
        self.conn = conn
        self.handoff = handoff
        self.started_at = time.monotonic()
        self.status = 0
        """Of the answer to the upgrade request: 101, or why not; 0 when there was none."""
        self._scope = scope
        self._app = app
        self._settings = settings
        self._loop = loop
        self._defaults = defaults
        self._on_accepted = on_accepted
        self._on_closed: Callable[[WebSocketSession, EndReason, int], None] | None = on_closed
        self._link = WebSocketLink(
            conn,
            handoff.buffered,
            settings,
            loop,
            backlog=backlog,
            memory=memory,
            on_change=self._wake,
            on_closed=self._report_end,
        )
        self._state = Machine(APP_STATES, AppState.CONNECTING)
        self._encoder: ResponseEncoder | None = None
        self._connect: Message | None = {"type": "websocket.connect"}
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        """One for each `receive()` that waits: of concurrent ones any may be cancelled."""
        self._burst = 0
        self._disconnects = 0
        """How often `receive()` returned `websocket.disconnect`."""
        self._pattern: str | None = None

    # for the pool

    def start(self) -> None:
        """Watch the connection and call the application, as a task with a context of its own: context variables that it
        sets are not visible to the server's own work for this connection."""
        context = own_context(self._loop).copy()
        context.run(current_trace.set, self.handoff.trace)
        context.run(self._link.start)  # log lines written while reading name the request too
        self._task = self._loop.create_task(self._call(), context=context.copy())
        self._task.add_done_callback(self._on_returned, context=context)

    def shutdown(self, code: int = SERVICE_RESTART, reason: str = "") -> None:
        """End it cleanly because the server stops: a close frame, or 503 while the upgrade is unanswered. The
        application sees `websocket.disconnect`. May be called again."""
        if self._link.state is ConnectionState.OPEN:
            self._link.close(code, reason, EndReason.DRAINED)
        elif self._link.state is ConnectionState.UNANSWERED:
            self._link.ended = Close(code, reason)
            self._answer(503, "Service Unavailable", EndReason.DRAINED)

    def abort(self) -> None:
        """End it now: reset the connection, and cancel the application if it still runs."""
        self._link.cut(EndReason.DRAINED)
        if self._task is not None:
            self._task.cancel()

    def check_deadlines(self, now: float) -> None:
        """Act on what is overdue at `now` (loop.time()); to be called about once a second."""
        if now - self.started_at >= HANDSHAKE_TIMEOUT:
            self._end_handshake()
        self._link.check_deadlines(now)

    def _end_handshake(self) -> None:
        """The application has not answered the handshake in time."""
        state = self._link.state
        if state is ConnectionState.UNANSWERED:
            self._answer(504, "Gateway Timeout", EndReason.REQUEST_TIMEOUT)
        elif state is ConnectionState.RESPONDING and not self.conn.pending_bytes:
            self._link.cut(EndReason.REQUEST_TIMEOUT)
        else:
            return
        task = self._task
        log.error(
            "application takes too long to answer the handshake",
            seconds=HANDSHAKE_TIMEOUT,
            stacks=stacks.describe(task) if task is not None else "",
            **self._log_context(),
        )
        if task is not None:
            task.cancel()

    @property
    def unanswered(self) -> bool:
        """The application has not answered the upgrade request yet."""
        return self._link.state is ConnectionState.UNANSWERED

    def activity(self) -> Activity:
        """What the operator is told of it."""
        handoff = self.handoff
        pattern = self._pattern or pattern_of(handoff.head.path, self._scope.get("path_params") or {})
        if self._state.state is not AppState.CONNECTING:  # routed by now
            self._pattern = pattern
        state = self._link.state.name.lower()
        return Activity(
            self.started_at, "websocket", state, handoff.head, handoff.trace, handoff.origin.client, pattern
        )

    def runs_in(self, task: "asyncio.Task[Any]") -> bool:
        """Whether this task is the application's call."""
        return self._task is task

    def occupant(self) -> Occupant:
        """What is reported should the application's call block the loop."""
        head, client = self.handoff.head, self.handoff.origin.client
        name = client[0].encode() if client is not None else b"-"
        return Occupant(self.started_at, head.method, head.raw_path, self.handoff.trace.request_id, name)

    # the application's call

    async def _call(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    def _on_returned(self, task: "asyncio.Task[None]") -> None:
        """The application returned, raised or was cancelled."""
        self._task = None
        error = error_of(task)
        if error is not None and not (self._link.ended is not None and is_aftermath(error)):
            log.error("application raised", exc_info=error, **self._log_context())
            self._end_link(INTERNAL_ERROR, EndReason.APP_ERROR)
        else:
            self._end_link(NORMAL, EndReason.COMPLETED)
        if error is not None:
            let_go(error)
        self._link.drop_messages()
        self._report_end()

    def _end_link(self, code: int, end: EndReason) -> None:
        """End what the application left unfinished."""
        state = self._link.state
        if state is ConnectionState.OPEN:
            self._link.close(code, "", end)
        elif state is ConnectionState.UNANSWERED or state is ConnectionState.RESPONDING:
            if end is EndReason.COMPLETED:
                log.error("application returned without answering the handshake", **self._log_context())
            if state is ConnectionState.UNANSWERED:
                self._answer(500, "Internal Server Error", EndReason.APP_ERROR)
            else:
                self._link.cut(EndReason.APP_ERROR)

    def _log_context(self) -> dict[str, object]:
        return {"path": self.handoff.head.path, "status": self.status}

    def _report_end(self) -> None:
        """Notify the pool, once both the connection and the call are over."""
        if self._link.state is ConnectionState.CLOSED and self._task is None and self._on_closed is not None:
            callback, self._on_closed = self._on_closed, None
            code = self._link.ended.code if self._link.ended is not None else ABNORMAL
            callback(self, self._link.reason or EndReason.COMPLETED, code)

    # receive()

    async def _receive(self) -> Message:
        """ASGI receive: `websocket.connect`, the messages, then `websocket.disconnect`."""
        if self._connect is not None:
            connect, self._connect = self._connect, None
            return connect
        if self._is_burst():
            await asyncio.sleep(0)
        link = self._link
        while not len(link):
            if link.ended is not None:
                await self._count_disconnect()
                code, reason = link.ended
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            await self._change()
        data = link.take()
        return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}

    async def _count_disconnect(self) -> None:
        """Before `websocket.disconnect`. After too many, pauses and raises `ClientDisconnected`: an application that
        ignores it would keep the pool busy for ever."""
        self._disconnects += 1
        if self._disconnects <= DISCONNECTS:
            return
        if self._disconnects == DISCONNECTS + 1 and (count := lines_due("websocket receives after the end")):
            log.warning("application receives after websocket.disconnect", count=count, **self._log_context())
        await asyncio.sleep(DISCONNECT_PAUSE)
        self._check_alive()

    async def _change(self) -> None:
        """Wait until there is a message or the end."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        self._burst = 0
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _is_burst(self) -> bool:
        """Whether other tasks should get a turn of the loop now."""
        self._burst += 1
        if self._burst < FAIR_BURST:
            return False
        self._burst = 0
        return True

    # send()

    async def _send(self, message: Message) -> None:
        """ASGI send. Raises ClientDisconnected (an OSError) once the connection has ended, AppError on
        misuse."""
        if message["type"] == "websocket.send" and self._state.state is _ACCEPTED:
            self._check_alive()  # the same as `_dispatch`, but faster: the most frequent message
            self._send_message(message)
        else:
            self._dispatch(message)
        if self.conn.pending_bytes > HIGH_WATER:
            await self.conn.drained()
        if self._is_burst():
            await asyncio.sleep(0)

    def _dispatch(self, message: Message) -> None:
        kind = kind_of(message)
        if self._link.ended is not None and kind is AppMessage.CLOSE:
            return  # already closed, by either side
        if self._state.state is AppState.ENDED and kind is AppMessage.SEND:
            self._check_alive()
        if kind not in APP_STATES[self._state.state]:
            state = self._state.state.name.lower()
            raise AppError(f"{message['type']} is not allowed when the WebSocket is {state}")
        self._check_alive()
        _HANDLERS[kind](self, message)
        self._state.move(kind)

    def _check_alive(self) -> None:
        if self._link.ended is not None:
            raise ClientDisconnected(errno.EPIPE, f"the WebSocket ended with code {self._link.ended.code}")

    def _accept(self, message: Message) -> None:
        head = self.handoff.head
        terms = deflate_terms(head, enabled=self._settings.per_message_deflate)
        response = accept_response(head, self._scope, message, terms, self._defaults())
        new = choose_codec(self._settings.codec)
        self._link.accept(response, new(self._settings.max_message, terms, self._settings.max_inflated))
        self.status = 101
        self._on_accepted(self)

    def _send_message(self, message: Message) -> None:
        text, data = message.get("text"), message.get("bytes")
        if isinstance(text, str) and data is None:
            self._link.send(text)
        elif isinstance(data, (bytes, bytearray, memoryview)) and text is None:
            self._link.send(bytes(data))
        else:
            raise AppError("websocket.send: give either `text`, a str, or `bytes`")

    def _send_close(self, message: Message) -> None:
        if self._link.state is ConnectionState.UNANSWERED:
            self._answer(403, "Forbidden", EndReason.COMPLETED)
            return
        code, reason = close_of(message)
        self._link.drop_messages()
        self._link.close(code, reason, EndReason.COMPLETED)

    def _answer(self, status: int, text: str, end: EndReason) -> None:
        self.status = status
        self._link.answer(simple_response(status, text, self._defaults()), end)

    def _send_response(self, message: Message) -> None:
        """`websocket.http.response.start`: nothing is written before the first body."""
        self._encoder = ResponseEncoder("GET", self.handoff.head.http_version, keep_alive=False)
        self._encoder.start({**message, "type": "http.response.start"})

    def _send_body(self, message: Message) -> None:
        assert self._encoder is not None
        parts = self._encoder.body({**message, "type": "http.response.body"}, self._defaults())
        self.status = self._encoder.status
        self._link.respond(*parts, last=self._encoder.complete)


_HANDLERS: Final[dict[AppMessage, Callable[[WebSocketSession, Message], None]]] = {
    AppMessage.ACCEPT: WebSocketSession._accept,
    AppMessage.SEND: WebSocketSession._send_message,
    AppMessage.CLOSE: WebSocketSession._send_close,
    AppMessage.RESPOND: WebSocketSession._send_response,
    AppMessage.BODY: WebSocketSession._send_body,
    AppMessage.LAST_BODY: WebSocketSession._send_body,
}
