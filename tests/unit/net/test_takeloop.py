"""What waits on a descriptor is taken in batches, and not at all during a pause."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from hsrv.net import takeloop
from hsrv.net.loops import new_loop
from hsrv.net.takeloop import TakeLoop


class Source:
    """A socket with bytes to be taken one by one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.took = b""
        self.on_take: Callable[[], object] = lambda: None

    def take(self, sock: socket.socket) -> bool:
        try:
            self.took += sock.recv(1)
        except BlockingIOError:
            return False
        self.on_take()
        return True

    def turn(self) -> bytes:
        """What one turn of the loop takes."""
        self.took = b""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        return self.took


@pytest.fixture
def source() -> Iterator[Source]:
    loop = new_loop("asyncio")
    source = Source(loop)
    with source.near, source.far:
        yield source
    loop.close()


def test_a_batch_is_taken_in_a_turn(source: Source) -> None:
    loop = TakeLoop([source.near], source.loop, source.take, batch=2, batch_time=60)
    source.far.send(b"abc")
    assert source.turn() == b""
    loop.open()
    loop.open()
    assert [source.turn() for _ in range(3)] == [b"ab", b"c", b""]
    loop.end()


def test_a_batch_that_takes_long_is_cut_short(source: Source) -> None:
    loop = TakeLoop([source.near], source.loop, source.take, batch=9, batch_time=-1)
    source.far.send(b"ab")
    loop.open()
    assert [source.turn() for _ in range(2)] == [b"a", b"b"]
    loop.end()


def test_nothing_is_taken_once_it_is_closed_amid_a_batch(source: Source) -> None:
    loop = TakeLoop([source.near], source.loop, source.take, batch=9, batch_time=60)
    source.on_take = loop.close
    source.far.send(b"ab")
    loop.open()
    assert [source.turn() for _ in range(2)] == [b"a", b""]
    assert not loop.is_open
    loop.end()


def test_during_a_pause_nothing_is_watched_and_it_ends_when_it_may(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeloop, "PAUSE", 0.005)
    answers = [True, False]
    loop = TakeLoop([source.near], source.loop, source.take, batch=9, may_resume=answers.pop)
    loop.open()
    source.far.send(b"a")
    assert loop.pause()
    assert not loop.pause(), "it has begun already"
    loop.open()
    assert source.turn() == b""
    assert loop.paused

    async def taken() -> None:
        async with asyncio.timeout(10):
            while not source.took:  # noqa: ASYNC110  # turns of the loop
                await asyncio.sleep(0.001)

    with suppress(IndexError):
        source.loop.run_until_complete(taken())
    assert source.took == b"a"
    assert answers == []
    loop.end()


def test_closed_during_a_pause_it_stays_closed(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeloop, "PAUSE", 0.001)
    loop = TakeLoop([source.near], source.loop, source.take, batch=9)
    loop.open()
    source.far.send(b"a")
    loop.pause()
    loop.close()

    async def over() -> None:
        while loop.paused:  # noqa: ASYNC110  # turns of the loop
            await asyncio.sleep(0.001)

    source.loop.run_until_complete(over())
    assert source.turn() == b""
    assert source.near.recv(1) == b"a", "nobody has taken it"
    loop.end()
