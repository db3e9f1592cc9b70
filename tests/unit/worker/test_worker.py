"""What a worker decides by itself, without a server around it: real sockets and channels, nobody at their other end."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from hsrv.app.apploader import LoadedApp
from hsrv.board.layout import Count
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.child.life import ChildBoot
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.terms import Identity, Role
from hsrv.ipc.channel import Channel, ChannelFull
from hsrv.ipc.messages import Origin
from hsrv.net.loops import new_loop
from hsrv.options.config import Config
from hsrv.worker import worker
from hsrv.worker.worker import Worker
from tests.integration.wire import request

DEADLINE = 10.0
OK = b"HTTP/1.1 200 OK\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"here"})


class Place:
    """A worker, its channels, and its clients."""

    def __init__(self, stack: ExitStack) -> None:
        self.loop = asyncio.get_running_loop()
        self._stack = stack
        handoff, adopt = Channel.pair(), Channel.pair()
        control, _ = pair = socket.socketpair()
        for end in (*handoff, *adopt, *pair):
            stack.callback(end.close)
        self.adopt_send = adopt[0]
        self._board = new_board()
        stack.callback(os.close, self._board)
        self.worker = Worker(
            ChildBoot(
                identity=Identity(Role.WORKER, 1, 1),
                config=Config(access_log=False),
                app=LoadedApp(app, "test:app"),
                control=control,
                board=Scoreboard(self._board),
                log_context={},
                handoff_send=handoff[0],
                handoff_receive=handoff[1],
                adopt_send=adopt[0],
                adopt_receive=adopt[1],
                listeners=[],
            ),
            self.loop,
            lambda pattern, long: None,
        )
        stack.callback(self.worker.cut_all)

    def rescued(self) -> int:
        snapshot = read_board(self._board)
        assert snapshot is not None
        return snapshot.totals.count(Count.RESCUED)

    async def client(self) -> socket.socket:
        """One that was served, and stays."""
        ours, client = socket.socketpair()
        self._stack.enter_context(client)
        ours.setblocking(False)
        client.setblocking(False)
        self.worker._connect(ours, Origin(client=None, server=None, accepted_at=0.0)).start()
        await self.served(client)
        return client

    async def served(self, client: socket.socket) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.loop.sock_sendall(client, request("/"))
            assert (await self.loop.sock_recv(client, 65536)).startswith(OK)


def with_place(story: Callable[[Place], Awaitable[None]]) -> None:
    async def run() -> None:
        with ExitStack() as stack:
            await story(Place(stack))

    loop = new_loop("auto")
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


def test_of_idle_connections_those_that_were_idle_for_longest_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "IDLE_ENOUGH", 0)

    async def story(place: Place) -> None:
        clients = [await place.client() for _ in range(4)]
        first, second, third, fourth = (
            clients[at] for at in (2, 0, 3, 1)
        )  # in the order of their last answers
        for client in (first, second, third, fourth):
            await asyncio.sleep(0.01)  # the clock of the loop goes by milliseconds
            await place.served(client)
        assert place.worker.make_room(2) == 2
        for client in (first, second):
            async with asyncio.timeout(DEADLINE):
                assert await place.loop.sock_recv(client, 1) == b""
        for client in (third, fourth):
            await place.served(client)

    with_place(story)


def test_what_has_just_been_answered_is_not_idle_enough() -> None:
    async def story(place: Place) -> None:
        client = await place.client()
        assert place.worker.make_room(1) == 0
        await place.served(client)

    with_place(story)


def test_while_the_adopt_channel_is_full_a_rescue_moves_nothing_and_loses_nothing() -> None:
    async def story(place: Place) -> None:
        clients = [await place.client() for _ in range(3)]
        with pytest.raises(ChannelFull):
            while True:
                place.adopt_send.send(b"x" * 1000)
        await asyncio.to_thread(place.worker.rescue)  # it comes from the thread that watches the loop
        assert place.rescued() == 0
        assert len(place.worker.connections) == 3
        for client in clients:
            await place.served(client)

    with_place(story)


def test_a_rescue_moves_every_connection_between_two_requests() -> None:
    async def story(place: Place) -> None:
        for _ in range(3):
            await place.client()
        await asyncio.to_thread(place.worker.rescue)
        assert place.rescued() == 3
        assert not place.worker.connections

    with_place(story)


def test_the_life_of_a_worker_is_spread_over_its_jitter() -> None:
    """Or all of them would be replaced at the same time."""
    lives = [worker._life(1000, 100) for _ in range(300)]
    assert min(lives) >= 1000
    assert max(lives) <= 1100
    assert len(set(lives)) > 20
    assert max(lives) - min(lives) > 50
    assert {worker._life(1000, 0) for _ in range(20)} == {1000}
    assert {worker._life(0, 100) for _ in range(20)} == {0}, "without a limit there is none"
