"""The poller, on every loop."""

import asyncio
import socket
import struct
from collections.abc import Iterator

import pytest

from hsrv.loops import new_loop
from hsrv.poller import EpollPoller, poller_of, wait_readable, wait_writable


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
