"""A WebSocket session on one end of a socket, a wsproto client on the other."""

import asyncio
import functools
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from wsproto.connection import CLIENT, Connection
from wsproto.events import Event
from wsproto.extensions import PerMessageDeflate

from hsrv.asyncpool.websocket.memory import MessageMemory
from hsrv.asyncpool.websocket.session import WebSocketSession, WebSocketSettings
from hsrv.common.asgi import Application
from hsrv.common.request import Headers, RequestHead
from hsrv.common.terms import EndReason
from hsrv.http.backlog import Backlog
from hsrv.ipc.messages import Origin, Trace, WebSocketHandoff
from hsrv.logs.logging import current_trace
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop

TEST_TIMEOUT = 20
"""Seconds. Bounds every wait of a test."""

DEFAULTS = b"server: hsrv\r\n"
SETTINGS: dict[str, Any] = {
    "codec": "auto",
    "max_message": 1 << 20,
    "max_inflated": 1 << 20,
    "message_timeout": 60,
    "ping_interval": 0,
    "ping_timeout": 0,
    "per_message_deflate": True,
    "send_timeout": 30,
    "close_timeout": 5,
}


def on_loop(test: Callable[[], Awaitable[None]]) -> Callable[[str], None]:
    """Run a test on both kinds of event loop, and insist that it leaves no task and no error behind."""

    @pytest.mark.parametrize("loop_name", ["uvloop", "asyncio"])
    @functools.wraps(test)
    def run(loop_name: str) -> None:
        loop = new_loop(loop_name)
        errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: errors.append(context))
        try:
            loop.run_until_complete(asyncio.wait_for(test(), TEST_TIMEOUT))
            assert errors == []
            assert asyncio.all_tasks(loop) == set()
        finally:
            loop.close()

    del run.__wrapped__  # pytest would read the parameters of `test`
    return run


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds."""
    while not condition():  # noqa: ASYNC110  # what is waited for is state of the session, which signals nothing
        await asyncio.sleep(0)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


class Peer:
    """The client, and what the pool sees of the session."""

    def __init__(
        self,
        app: Application,
        *,
        headers: Headers | None = None,
        early: bytes = b"",
        pair: tuple[socket.socket, socket.socket] | None = None,
        subprotocols: tuple[str, ...] = (),
        memory: MessageMemory | None = None,
        **settings: Any,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        server, self.sock = pair or socket.socketpair()
        server.setblocking(False)
        self.sock.setblocking(False)
        head = _head(headers or [])
        origin = Origin(client=None, server=None, accepted_at=0.0)
        trace = Trace(request_id="r-1")
        handoff = WebSocketHandoff(origin=origin, head=head, buffered=early, trace=trace)
        self.conn = Conn(server, self.loop, origin)
        self.ends: list[tuple[EndReason, int]] = []
        self.trace_at_end: Trace | None = None
        self._ended: asyncio.Future[None] = self.loop.create_future()
        self.session = WebSocketSession(
            self.conn,
            handoff,
            {"type": "websocket", "subprotocols": list(subprotocols)},
            app,
            WebSocketSettings(**{**SETTINGS, **settings}),
            loop=self.loop,
            backlog=Backlog(self.loop),
            memory=memory or MessageMemory(1 << 30),
            defaults=lambda: DEFAULTS,
            on_accepted=lambda session: None,
            on_closed=self._on_closed,
        )
        self.frames = Connection(CLIENT)
        self.session.start()

    def _on_closed(self, session: WebSocketSession, reason: EndReason, code: int) -> None:
        assert session is self.session
        self.ends.append((reason, code))
        self.trace_at_end = current_trace.get()
        self._ended.set_result(None)

    def connected(self) -> bool:
        return self.conn.is_open

    async def head(self) -> bytes:
        """The head of the response. What follows it is taken for frames."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = await self.loop.sock_recv(self.sock, 65536)
            assert piece, f"the connection ended after {data!r}"
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        if b"permessage-deflate" in head:
            extension = PerMessageDeflate()
            extension.finalize(head.partition(b"extensions: ")[2].partition(b"\r\n")[0].decode())
            self.frames = Connection(CLIENT, [extension])
        self.frames.receive_data(rest)
        return head

    async def response(self) -> bytes:
        """Everything until the connection ends."""
        data = b""
        while piece := await self.loop.sock_recv(self.sock, 65536):
            data += piece
        return data

    async def event(self) -> Event:
        """The next event from the server; fragments as wsproto gives them."""
        while True:
            for event in self.frames.events():
                return event
            data = await self.loop.sock_recv(self.sock, 65536)
            assert data, "the connection ended"
            self.frames.receive_data(data)

    async def send(self, *events: Event) -> None:
        await self.send_bytes(b"".join(self.frames.send(event) for event in events))

    async def send_bytes(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def ended(self) -> tuple[EndReason, int]:
        """Hang up, and wait until the session is over. Returns why it ended, and its close code."""
        self.sock.close()
        return await self.over()

    async def over(self) -> tuple[EndReason, int]:
        """Wait until the session is over, which must be reported once."""
        await self._ended
        assert not self.conn.is_open
        assert len(self.ends) == 1
        self.sock.close()
        return self.ends[0]

    async def turns(self, count: int = 20) -> None:
        """Let the loop turn, for what must *not* happen."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def fill(self, data: bytes, limit: int) -> int:
        """Write `data` again and again until neither the session reads nor the kernel takes more. Returns how
        often it was written whole; fails at `limit`."""
        count = 0
        rest = data
        while True:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                if not self.conn.reading:
                    return count
            if not rest:
                rest = data
                count += 1
                assert count < limit, "nothing held the client back"
            await asyncio.sleep(0)


def _head(headers: Headers) -> RequestHead:
    return RequestHead(
        method="GET",
        target=b"/ws",
        path="/ws",
        raw_path=b"/ws",
        query=b"",
        http_version="1.1",
        headers=[(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="), *headers],
        content_length=None,
        chunked=False,
        keep_alive=True,
        expect_continue=False,
        websocket=True,
        event_stream=False,
    )
