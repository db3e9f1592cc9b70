"""The poller, on every loop."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context

import pytest

from hsrv.net.context import at_end, later, own_context, soon
from hsrv.net.loops import new_loop
from hsrv.net.poller import EpollPoller, LoopPoller, poller_of, wait_readable, wait_writable


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    loop = new_loop(request.param)
    yield loop
    loop.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    return near, far


def test_each_loop_has_one_poller(loop: asyncio.AbstractEventLoop) -> None:
    assert isinstance(poller_of(loop), EpollPoller)
    assert poller_of(loop) is poller_of(loop)


def test_a_reset_wakes_the_reader(loop: asyncio.AbstractEventLoop) -> None:
    """libuv alone would drop the watch without a word."""
    near, far = tcp_pair()

    async def scenario() -> None:
        waiting = asyncio.ensure_future(wait_readable(near.fileno()))
        await asyncio.sleep(0)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        await asyncio.wait_for(waiting, 10)

    loop.run_until_complete(scenario())
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    near.close()


def test_a_reset_wakes_the_writer(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with pytest.raises(BlockingIOError):
        while True:
            near.send(b"x" * 65536)

    async def scenario() -> None:
        waiting = asyncio.ensure_future(wait_writable(near.fileno()))
        await asyncio.sleep(0)
        far.close()  # with unread bytes: a reset
        await asyncio.wait_for(waiting, 10)

    loop.run_until_complete(scenario())
    near.close()


def test_reader_and_writer_of_one_descriptor_come_and_go_separately(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    poller = poller_of(loop)
    calls: list[str] = []

    def read() -> None:
        calls.append("read")
        near.recv(10)

    def write() -> None:
        calls.append("write")
        poller.remove_writer(near.fileno())

    async def scenario() -> None:
        poller.add_reader(near.fileno(), read)
        poller.add_writer(near.fileno(), write)
        far.send(b"x")
        while len(calls) < 2:  # noqa: ASYNC110  # turns of the loop are what is tested
            await asyncio.sleep(0)
        assert sorted(calls) == ["read", "write"]
        assert poller.remove_reader(near.fileno())
        assert not poller.remove_reader(near.fileno())
        assert not poller.remove_writer(near.fileno())
        far.send(b"y")
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(calls) == 2

    loop.run_until_complete(asyncio.wait_for(scenario(), 10))
    near.close()
    far.close()


def test_a_callback_may_take_away_another_that_is_due(loop: asyncio.AbstractEventLoop) -> None:
    pairs = [tcp_pair() for _ in range(2)]
    poller = poller_of(loop)
    calls: list[int] = []

    def first_come(index: int) -> None:
        calls.append(index)
        for near, _ in pairs:
            poller.remove_reader(near.fileno())

    async def scenario() -> None:
        for index, (near, far) in enumerate(pairs):
            far.send(b"x")
            poller.add_reader(near.fileno(), first_come, index)
        while not calls:  # noqa: ASYNC110  # turns of the loop are what is tested
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(scenario(), 10))
    assert len(calls) == 1
    for near, far in pairs:
        near.close()
        far.close()


@pytest.mark.parametrize("kind", [EpollPoller, LoopPoller])
def test_whoever_asks_is_called_back_in_the_context_of_the_process(
    loop: asyncio.AbstractEventLoop, kind: type[EpollPoller | LoopPoller]
) -> None:
    near, far = tcp_pair()
    secret: ContextVar[str] = ContextVar("secret", default="")
    secret.set("of the process")
    own_context(loop)
    poller = kind(loop)
    found: list[str] = []

    def look(remove: Callable[[int], object]) -> None:
        found.append(secret.get())
        remove(near.fileno())

    async def scenario() -> None:
        secret.set("of a call")
        poller.add_reader(near.fileno(), look, poller.remove_reader)
        poller.add_writer(near.fileno(), look, poller.remove_writer)
        soon(loop, lambda: found.append(secret.get()))
        later(loop, 0.001, lambda: found.append(secret.get()))
        task = loop.create_task(asyncio.sleep(0), context=copy_context())
        at_end(task, lambda _: found.append(secret.get()))
        far.send(b"x")
        while len(found) < 5:  # noqa: ASYNC110  # turns of the loop are what is tested
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(scenario(), 10))
    assert found == ["of the process"] * 5
    near.close()
    far.close()
