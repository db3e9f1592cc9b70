"""A worker or pool without a process: on a loop of the test, with real channels, a real listener and real clients."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Generic, TypeVar

from hsrv.app.apploader import LoadedApp
from hsrv.board.census import Census, is_needed, new_file
from hsrv.board.layout import Count, Gauge
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.child.boot import ChildBoot, Learn
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.request import RequestHead
from hsrv.common.terms import Identity, Role
from hsrv.http.wire.head import HeadLimits, take_head
from hsrv.http.wire.parser import choose_parser
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import (
    AnyHandoff,
    ListenerInfo,
    Origin,
    Trace,
    decode_adoption,
    decode_handoff,
    encode,
)
from hsrv.net.loops import new_loop
from hsrv.net.poller import turn_of
from hsrv.options.config import Config
from hsrv.rpc.methods import ChildReport, DrainParams
from hsrv.serving.service import RoleService
from hsrv.supervisor.reports.boards import with_counters

DEADLINE = 10.0
LONG_CALL = 0.03
GET = b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"
DRAIN = DrainParams(graceful_timeout=5.0, stream_grace=2.0)
MOVE = DrainParams(graceful_timeout=5.0, stream_grace=2.0, adopt=True)

R = TypeVar("R", bound=RoleService)


class App:
    """Answers /hello at once; /long too, after a while in which nothing else runs; /wait and /events when it is let
    go."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append(scope["path"])
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        stream = scope["path"].startswith("/events")
        kind = b"text/event-stream" if stream else b"text/plain"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if stream:
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        if scope["path"] == "/long":
            time.sleep(LONG_CALL)  # noqa: ASYNC251  # to block is what it is for
        elif scope["path"] != "/hello":
            await self.go.wait()
        await send({"type": "http.response.body", "body": b"done"})


class Serving(Generic[R]):
    """The role under test, and what is around its process."""

    def __init__(
        self,
        role: Callable[[ChildBoot, asyncio.AbstractEventLoop, Learn], R],
        stack: ExitStack,
        config: Config,
    ) -> None:
        self.stack = stack
        self.loop = new_loop("asyncio")
        stack.callback(self.loop.close)
        self.app = App()
        self.learned: list[tuple[str, bool]] = []
        board, (control, other) = new_board(), socket.socketpair()
        self._board = board
        stack.callback(os.close, board)
        self.handoffs, self.adopted = Channel.pair(), Channel.pair()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.address = listener.getsockname()[:2]
        for one in (control, other, listener):
            stack.enter_context(one)
        boot = ChildBoot(
            identity=Identity(Role.WORKER, 1, 1),
            config=config,
            app=LoadedApp(self.app, "test"),
            control=control,
            board=Scoreboard(board),
            log_context={},
            handoff_send=self.channel(self.handoffs[0]),
            handoff_receive=self.channel(self.handoffs[1]),
            adopt_send=self.channel(self.adopted[0]),
            adopt_receive=self.channel(self.adopted[1]),
            listeners=[(ListenerInfo(url="", address=self.address), listener)],
            census=Census(new_file()) if is_needed(config) else None,
        )
        self.last_taken = boot.last_taken
        for channel in (*self.handoffs, *self.adopted):
            stack.callback(channel.close)
        self.role = role(boot, self.loop, lambda pattern, streams: self.learned.append((pattern, streams)))
        self.turn = turn_of(self.loop)

    def channel(self, channel: Channel) -> Channel:
        """The process's copy of an end, as inherited from the template."""
        copy = Channel(socket.socket(fileno=os.dup(channel.fileno())))
        self.stack.callback(copy.close)
        return copy

    def run(self) -> "asyncio.Task[None]":
        """Serve; the task ends with the service."""
        return self.loop.create_task(self.role.run())

    def report(self) -> ChildReport:
        """As the supervisor shows it."""
        return with_counters(self.role.report(), read_board(self._board))

    def count(self, count: Count) -> int:
        """A counter of the scoreboard."""
        snapshot = read_board(self._board)
        assert snapshot is not None
        return snapshot.totals.count(count)

    def gauge(self, gauge: Gauge) -> int:
        """A value of the scoreboard."""
        snapshot = read_board(self._board)
        assert snapshot is not None
        return snapshot.gauges[gauge]

    def is_over(self) -> bool:
        """Whether the drain has ended."""
        return self.role.drain.is_over

    def do(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Call what wants the lock of connections, as a command of the supervisor does."""

        async def call() -> Any:
            return None

        with self.turn:
            found = action(*arguments)
        self.loop.run_until_complete(call())
        return found

    def until(self, condition: Callable[[], object]) -> None:
        async def turns() -> None:
            async with asyncio.timeout(DEADLINE):
                while not condition():  # noqa: ASYNC110  # nothing announces it
                    await asyncio.sleep(0.001)

        self.loop.run_until_complete(turns())

    def turn_once(self) -> None:
        """One turn of the loop."""
        self.loop.run_until_complete(asyncio.sleep(0))

    def connect(self, data: bytes = b"") -> socket.socket:
        client = self.stack.enter_context(socket.create_connection(self.address, timeout=DEADLINE))
        client.sendall(data)
        client.setblocking(False)
        return client

    def pair(self) -> tuple[socket.socket, socket.socket]:
        ours, client = socket.socketpair()
        self.stack.enter_context(client)
        client.setblocking(False)
        return ours, client

    def read(self, client: socket.socket, expected: bytes) -> bytes:
        """What a client receives, up to `expected`; b"" for the end."""
        got = b""

        def more() -> bool:
            nonlocal got
            with suppress(BlockingIOError):
                data = client.recv(65536)
                got += data
                return not data or (expected != b"" and expected in got)
            return False

        self.until(more)
        assert expected in got, got
        return got

    def ask(self, client: socket.socket, data: bytes = GET) -> bytes:
        client.sendall(data)
        return self.read(client, b"done")

    def packet(self, channel: Channel) -> tuple[AnyHandoff, socket.socket]:
        """The next packet that the role sends."""
        found = None

        def arrived() -> bool:
            nonlocal found
            found = channel.receive()
            return found is not None

        self.until(arrived)
        assert found is not None
        with found:
            sock = self.stack.enter_context(found.take_socket())
            decode = decode_adoption if channel is self.adopted[1] else decode_handoff
            return decode(found.payload), sock

    def send(self, channel: Channel, message: AnyHandoff) -> socket.socket:
        """Send the role a connection; its client's end."""
        ours, client = self.pair()
        with ours:
            channel.send(encode(message), ours.fileno())
        return client


def head_of(path: str, *fields: str) -> RequestHead:
    data = "\r\n".join((f"GET {path} HTTP/1.1", "Host: h", *fields, "", "")).encode()
    limits = HeadLimits(request_line=1000, head=10000, fields=100, body=0)
    head = take_head(bytearray(data), 0, choose_parser("auto"), limits)
    assert head is not None
    return head


ORIGIN = Origin(client=("192.0.2.1", 1), server=None, accepted_at=0.0, requests_served=1)
TRACE = Trace(request_id="r", received_at=0.0)


@contextmanager
def serving(
    role: Callable[[ChildBoot, asyncio.AbstractEventLoop, Learn], R], **options: Any
) -> Iterator[Serving[R]]:
    """It runs, and leaves nothing behind."""
    with ExitStack() as stack:
        served = Serving(role, stack, Config(access_log=False, **options))
        task = served.run()
        served.until(lambda: True)
        try:
            yield served
        finally:
            served.app.go.set()
            with served.turn:
                served.role.begin_drain(DrainParams(graceful_timeout=0.0, stream_grace=0.0))
                served.role.finish()
                served.role.host.cut_all()
            served.until(lambda: served.role.drain.is_over or served.role.busy() is False)
            served.role.drain.end()
            served.until(task.done)
            served.until(lambda: len(asyncio.all_tasks(served.loop)) <= 1)
