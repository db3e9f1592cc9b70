"""The async pool: every long-lived stream, on one event loop.

Owns the connections that workers handed over, from their request on. Promises: each handed-over request runs once,
with the scope its head gives; the connection of a finished HTTP stream goes back to a worker; at a drain every
stream is ended properly. Must not run what a worker should: no request that arrives later on a connection runs here.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from hsrv.asyncpool.websocket import WebSocketSession, WebSocketSettings
from hsrv.channel import ChannelError
from hsrv.child import ChildBoot
from hsrv.conn import Conn
from hsrv.http.activity import Activity
from hsrv.http.connection import END_TIMEOUT, HTTPConnection, State
from hsrv.http.exchange import Exchange
from hsrv.http.host import HTTPHost, access_record
from hsrv.intake import Intake
from hsrv.logging import get_logger
from hsrv.messages import Handoff, WebSocketHandoff, decode_handoff
from hsrv.rpc.methods import ChildReport, DrainParams
from hsrv.terms import EndReason

ADOPT_RETRY: Final = 0.02
"""Seconds until a connection that found the adopt channel full is passed again."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds a WebSocket peer has to answer our close frame."""

log = get_logger("hsrv.pool")


class AsyncPool(HTTPHost):
    """Long-lived streams: receives requests from the workers, runs them, gives the connections back."""

    answers_half_closed = False

    def __init__(
        self, boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Callable[[str], None]
    ) -> None:
        super().__init__(boot.identity, boot.config, boot.application, loop)
        config = boot.config
        self.send_timeout = config.stream_send_timeout
        self._learn = learn
        self._handoffs: Intake[Handoff] = Intake(
            boot.handoff_receive, loop, decode_handoff, self.accept_handoff
        )
        self._adopt = boot.adopt_send
        boot.handoff_send.close()  # the workers' ends: to hand over to ourselves, or adopt, is not for a pool
        boot.adopt_receive.close()
        self._returning: deque[HTTPConnection] = deque()
        """Idle connections that wait for room in the adopt channel; nothing is read from them here."""
        self._retry: asyncio.TimerHandle | None = None
        self._sessions: set[WebSocketSession] = set()
        self._ws_settings = WebSocketSettings(
            max_message=config.ws_max_message,
            ping_interval=config.ws_ping_interval,
            ping_timeout=config.ws_ping_timeout,
            per_message_deflate=config.ws_per_message_deflate,
            send_timeout=config.stream_send_timeout,
            close_timeout=CLOSE_TIMEOUT,
        )
        self._drain: DrainParams | None = None
        self._drain_began = 0.0
        self._finishing = False
        self._drained = asyncio.Event()

    # life (hsrv.child.Service)

    async def run(self) -> None:
        """Serve until a drain is over."""
        self._handoffs.open()
        self.start_sweep()
        await self._drained.wait()
        self.stop_sweep()
        self.access_log.flush()
        self._handoffs.close()
        if self._retry is not None:
            self._retry.cancel()

    def announce_close(self) -> None:
        """From now on every response asks its client to reconnect."""
        self.closing = True

    def begin_drain(self, drain: DrainParams) -> None:
        """Let the streams end by themselves for `drain.stream_grace` seconds, then end them."""
        if self._drain is not None:
            return  # the supervisor asked for it and died meanwhile: its budgets go on
        self._drain = drain
        self._drain_began = self.loop.time()
        self.closing = not drain.adopt
        self._check_drained()

    def finish(self) -> None:
        """No worker will hand anything over any more: `run` ends with the last stream."""
        self._finishing = True
        self._handoffs.receive_all()
        self._check_drained()

    def learned(self, patterns: list[str]) -> None:
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
            connections=len(self.connections) + len(self._sessions),
            handoffs_received=self._handoffs.received,
            undecodable=self._handoffs.undecodable,
        )

    # streams

    def accept_handoff(self, message: Handoff, sock: socket.socket) -> None:
        """Run a request that a worker handed over. Owns `sock` from here on."""
        conn = Conn(sock, self.loop, message.origin)
        if isinstance(message, WebSocketHandoff):
            self._start_session(conn, message)
        else:
            connection = HTTPConnection(conn, self)
            self.opened(connection)
            connection.resume(message.head, message.buffered, message.trace)

    def _start_session(self, conn: Conn, message: WebSocketHandoff) -> None:
        session = WebSocketSession(
            conn,
            message,
            self.scopes.websocket(message.head, message.origin, self.state),
            self.app,
            self._ws_settings,
            loop=self.loop,
            defaults=self.default_headers,
            on_closed=self._session_closed,
        )
        self._sessions.add(session)
        session.start()

    def _session_closed(self, session: WebSocketSession, reason: EndReason, code: int) -> None:
        self._sessions.discard(session)
        self.ended[reason] += 1
        if self.access_log.enabled:
            handoff = session.handoff
            seconds = self.loop.time() - session.started_at
            sent = session.conn.sent_bytes
            self.access_log.log(
                access_record(
                    handoff.head,
                    handoff.trace,
                    handoff.origin,
                    status=session.status,
                    body_bytes=sent,
                    seconds=seconds,
                    kind="websocket",
                )
            )
        self._check_drained()

    def stream_found(self, exchange: Exchange, pattern: str) -> None:
        """The workers should know, so that the plain requests of such a path meet it here."""
        self._learn(pattern)

    def closed(self, connection: HTTPConnection, reason: EndReason) -> None:
        super().closed(connection, reason)
        self._check_drained()

    def returned(self, exchange: Exchange) -> None:
        super().returned(exchange)
        self._check_drained()

    # connections that go back to the workers

    def idle(self, connection: HTTPConnection) -> bool:
        if self._returning or not self._give_back(connection):
            connection.conn.unwatch()
            self._returning.append(connection)
            self._schedule()
        return True

    def _give_back(self, connection: HTTPConnection) -> bool:
        try:
            connection.conn.give(self._adopt, connection.adoption())
        except ChannelError:
            return False
        connection.drop()
        return True

    def _schedule(self) -> None:
        if self._retry is None and self._returning:
            self._retry = self.loop.call_later(ADOPT_RETRY, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        while self._returning:
            connection = self._returning[0]
            if connection.state is State.IDLE and not self._give_back(connection):
                break
            self._returning.popleft()
        self._schedule()

    # drain

    def busy(self) -> bool:
        return super().busy() or bool(self._sessions)

    def _check_drained(self) -> None:
        if self._finishing and self._drain is not None and not self.busy():
            self._drained.set()

    def sweep(self, now: float) -> None:
        super().sweep(now)
        for session in list(self._sessions):
            session.check_deadlines(now)
        if self._drain is not None:
            self._sweep_drain(self._drain, now - self._drain_began)

    def _sweep_drain(self, drain: DrainParams, age: float) -> None:
        if not drain.adopt:
            self.close_idle()
        if age >= drain.stream_grace:
            self._end_streams()
        if age >= drain.stream_grace + 2 * (END_TIMEOUT + CLOSE_TIMEOUT) and self._finishing:
            for session in list(self._sessions):
                session.abort()
            self.cut_all()
            self._drained.set()
        self._check_drained()

    def _end_streams(self) -> None:
        """Tell every stream that it is over: WebSocket 1012 (Service Restart), event streams at an event boundary."""
        for session in list(self._sessions):
            session.shutdown(1012, "service restart")
        for connection in list(self.connections):
            connection.end_stream()
