"""The WebSockets of a pool: their number, their memory, their end on the scoreboard and in the access log."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from hsrv.asyncpool.websocket.memory import MessageMemory
from hsrv.asyncpool.websocket.session import WebSocketSession, WebSocketSettings
from hsrv.board.census import CensusKind
from hsrv.board.layout import Count, Gauge, Histogram
from hsrv.common.asgi import Application
from hsrv.common.terms import EndReason
from hsrv.http.host import HTTPHost
from hsrv.ipc.messages import WebSocketHandoff
from hsrv.logs.accesslog import logged_status
from hsrv.net.conn import Conn
from hsrv.options.config import Config
from hsrv.system.platform import return_free_memory

CLOSE_TIMEOUT: Final = 1.0
"""Seconds a WebSocket peer has to answer our close frame."""


def settings_of(config: Config) -> WebSocketSettings:
    return WebSocketSettings(
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


class WebSockets:
    """All sessions of this process."""

    def __init__(self, host: HTTPHost, on_closed: Callable[[], None]) -> None:
        """`on_closed`: called after each end of a session."""
        self._host = host
        self._on_closed = on_closed
        self._settings = settings_of(host.settings)
        self._memory = MessageMemory(host.settings.ws_memory)
        self._sessions: set[WebSocketSession] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[WebSocketSession]:
        """A copy: sessions may end meanwhile."""
        return iter(list(self._sessions))

    def start(self, conn: Conn, message: WebSocketHandoff) -> None:
        """Answer the upgrade request, and serve. Owns `conn` from here on."""
        host = self._host
        session = WebSocketSession(
            conn,
            message,
            host.scopes.websocket(message.head, message.origin, host.state),
            self._application_of(message),
            self._settings,
            loop=host.loop,
            backlog=host.backlog,
            memory=self._memory,
            defaults=host.default_headers,
            on_accepted=self._accepted,
            on_closed=self._closed,
        )
        if host.census is not None:
            host.census.enter(conn)
        self._sessions.add(session)
        self._count()
        session.start()

    def _application_of(self, message: WebSocketHandoff) -> Application:
        host = self._host
        return host.app if host.observer is None else host.observer.calling(host.app, message)

    def _accepted(self, session: WebSocketSession) -> None:
        """The application has accepted."""
        self._host.board.count(Count.WEBSOCKETS_OPENED)
        if self._host.observer is not None:
            self._host.observer.accepted(session.handoff)

    def _count(self) -> None:
        self._host.board.gauge(Gauge.WEBSOCKETS, len(self._sessions))
        if self._host.census is not None:
            self._host.census.set(CensusKind.WEBSOCKETS, len(self._sessions))

    # the end

    def _closed(self, session: WebSocketSession, reason: EndReason, code: int) -> None:
        host = self._host
        if host.observer is not None:
            since, status = session.started_at, session.status
            host.observer.websocket_closed(
                session.conn, session.handoff, reason, code, status=status, since=since
            )
        self._sessions.discard(session)
        self._count()
        seconds = time.monotonic() - session.started_at
        self._count_end(session, reason, seconds)
        if host.access_log.enabled:
            self._log(session, reason, seconds)
        self._on_closed()

    def _count_end(self, session: WebSocketSession, reason: EndReason, seconds: float) -> None:
        host = self._host
        host.count(reason)
        host.count_traffic(session.conn)
        if session.status == 101:
            host.board.stream_ended[reason] += 1
            host.board.observe(Histogram.STREAM, seconds)
        else:
            host.board.responded(session.status, seconds)

    def _log(self, session: WebSocketSession, reason: EndReason, seconds: float) -> None:
        handoff = session.handoff
        self._host.access_log.tell(
            "websocket",
            handoff.head,
            handoff.trace,
            handoff.origin.client,
            status=logged_status(session.status, reason, is_stream=True),
            body_bytes=session.conn.sent_bytes,
            duration=seconds,
        )

    # time

    def sweep(self, now: float) -> None:
        """Act on overdue deadlines."""
        for session in self:
            session.check_deadlines(now)
            self._host.count_traffic(session.conn)
        if self._memory.much_was_freed():
            return_free_memory()

    @property
    def any_unanswered(self) -> bool:
        """Whether the application has not answered some upgrade request yet."""
        return any(session.unanswered for session in self._sessions)

    def of_task(self, task: Any) -> WebSocketSession | None:
        """The session that a task serves. Called from another thread, while the loop is blocked."""
        return next((one for one in list(self._sessions) if one.runs_in(task)), None)
