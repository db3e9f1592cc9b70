"""An owned client socket on a real loop and a real socket pair."""

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from hsrv.common.errors import ClientDisconnected
from hsrv.ipc.channel import Channel, ChannelFull
from hsrv.ipc.messages import Origin
from hsrv.net.conn import HIGH_WATER, Conn
from hsrv.net.loops import new_loop

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    loop = new_loop(request.param)
    yield loop
    loop.close()


@pytest.fixture
def ends(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[Conn, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    conn = Conn(near, loop, Origin(client=None, server=None, accepted_at=0.0))
    yield conn, far
    conn.close()
    far.close()


async def read_all(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    sock.setblocking(False)
    data = bytearray()
    while len(data) < size:
        piece = await asyncio.wait_for(loop.sock_recv(sock, 1 << 16), 10)
        if not piece:
            break
        data += piece
    return bytes(data)


def test_a_small_write_is_with_the_peer_at_once(ends: tuple[Conn, socket.socket]) -> None:
    conn, far = ends
    conn.write(b"head", b"body")
    assert far.recv(100) == b"headbody"
    assert conn.pending_bytes == 0


def test_a_large_write_arrives_in_order(
    loop: asyncio.AbstractEventLoop, ends: tuple[Conn, socket.socket]
) -> None:
    conn, far = ends
    parts = [os.urandom(700_000), os.urandom(3), os.urandom(900_000)]

    async def scenario() -> bytes:
        conn.write(parts[0], parts[1])
        assert conn.pending_bytes > HIGH_WATER
        conn.write(parts[2])
        return await read_all(loop, far, sum(map(len, parts)))

    assert loop.run_until_complete(scenario()) == b"".join(parts)
    assert conn.sent_bytes == sum(map(len, parts))


def test_drained_holds_the_writer_back_until_the_peer_reads(
    loop: asyncio.AbstractEventLoop, ends: tuple[Conn, socket.socket]
) -> None:
    conn, far = ends

    async def scenario() -> None:
        conn.write(b"x" * 2_000_000)
        waiting = asyncio.ensure_future(conn.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
        reading = asyncio.ensure_future(read_all(loop, far, 2_000_000))
        await asyncio.wait_for(waiting, 10)
        assert conn.pending_bytes < HIGH_WATER
        await reading

    loop.run_until_complete(scenario())


def test_a_cancelled_waiter_does_not_take_another_with_it(
    loop: asyncio.AbstractEventLoop, ends: tuple[Conn, socket.socket]
) -> None:
    conn, far = ends

    async def scenario() -> None:
        conn.write(b"x" * 2_000_000)
        first, second = asyncio.ensure_future(conn.drained()), asyncio.ensure_future(conn.drained())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(read_all(loop, far, 2_000_000), asyncio.wait_for(second, 10))

    loop.run_until_complete(scenario())


def test_a_peer_that_is_gone_wakes_the_writer_with_an_oserror(
    loop: asyncio.AbstractEventLoop, ends: tuple[Conn, socket.socket]
) -> None:
    conn, far = ends
    broken: list[bool] = []
    conn.on_broken = lambda: broken.append(True)

    async def scenario() -> None:
        conn.write(b"x" * 2_000_000)
        far.close()
        with pytest.raises(ClientDisconnected):
            await asyncio.wait_for(conn.drained(), 10)
        with pytest.raises(OSError):
            conn.write(b"more")

    loop.run_until_complete(scenario())
    assert broken == [True]


def test_a_file_is_sent_after_what_was_written_before(
    loop: asyncio.AbstractEventLoop, ends: tuple[Conn, socket.socket], tmp_path: Path
) -> None:
    conn, far = ends
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)

    async def scenario() -> bytes:
        conn.write(b"head")
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        conn.write_file(fd, 10, len(content) - 10)
        conn.write(b"tail")
        data = await read_all(loop, far, len(content) - 2)
        with pytest.raises(OSError):
            os.fstat(fd)
        return data

    assert loop.run_until_complete(scenario()) == b"head" + content[10:] + b"tail"


def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(
    loop: asyncio.AbstractEventLoop, ends: tuple[Conn, socket.socket], tmp_path: Path
) -> None:
    """The length was announced: a client that is left to wait for the rest would wait for ever."""
    conn, far = ends
    path, size = tmp_path / "file", 8_000_000
    path.write_bytes(bytes(size))

    async def scenario() -> bytes:
        conn.on_broken = conn.close  # as its owner does
        conn.write_file(os.open(path, os.O_RDONLY), 0, size)
        assert conn.pending_bytes, "it doesn't fit into the socket"
        os.truncate(path, 1_000)
        return await read_all(loop, far, size)

    assert len(loop.run_until_complete(scenario())) < size, "and then the end of it"
    assert not conn.is_open


def test_giving_closes_our_copy_and_takes_it_off_the_loop(
    loop: asyncio.AbstractEventLoop, ends: tuple[Conn, socket.socket]
) -> None:
    """A registration left with epoll would make the loop spin: the file stays open in the other process."""
    conn, far = ends
    left, right = Channel.pair()
    calls: list[bytes | None] = []

    async def scenario() -> None:
        conn.watch(lambda: calls.append(conn.receive()))
        fd = conn.fd
        conn.give(left, b"payload")
        with pytest.raises(OSError):
            os.fstat(fd)
        far.send(b"for the new owner")
        turns, end = 0, time.monotonic() + 0.1
        while time.monotonic() < end:
            await asyncio.sleep(0.01)
            turns += 1
        assert turns < 50

    loop.run_until_complete(scenario())
    assert calls == []
    packet = right.receive()
    assert packet is not None
    with packet, packet.take_socket() as sock:
        assert sock.recv(100) == b"for the new owner"
    assert not conn.is_open
    left.close()
    right.close()


def test_a_failed_give_leaves_the_connection_ours(
    loop: asyncio.AbstractEventLoop, ends: tuple[Conn, socket.socket]
) -> None:
    conn, far = ends
    left, right = Channel.pair()
    with pytest.raises(ChannelFull):
        while True:
            left.send(b"x" * 30_000)
    with pytest.raises(ChannelFull):
        conn.give(left, b"payload")
    conn.write(b"still here")
    assert far.recv(100) == b"still here"
    left.close()
    right.close()


def test_unwritten_bytes_forbid_giving(ends: tuple[Conn, socket.socket]) -> None:
    conn, _ = ends
    left, right = Channel.pair()
    conn.write(b"x" * 2_000_000)
    with pytest.raises(ChannelFull, match="still to be written"):
        conn.give(left, b"")
    left.close()
    right.close()


def test_end_of_input_and_reset_both_read_as_end(ends: tuple[Conn, socket.socket]) -> None:
    conn, far = ends
    assert conn.receive() is None
    far.close()
    assert conn.receive() == b""


def test_a_peer_that_reads_slowly_is_not_taken_for_one_that_reads_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """The kernel holds more than it reads in the time: nothing of ours moves, and still it takes something."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    peer.settimeout(5)
    ours.setblocking(False)
    conn = Conn(ours, loop, Origin(client=None, server=None, accepted_at=0.0))
    try:
        conn.write(bytes(8 << 20))
        waiting, now = conn.pending_bytes, loop.time()
        assert waiting
        deadline = time.monotonic() + 10
        for step in range(1, 4):  # ten seconds each, by the clock that stalled() is told
            taken = len(peer.recv(256 << 10))
            while conn.stalled(now + 10 * step, 5) and time.monotonic() < deadline:
                taken += len(peer.recv(64 << 10))
            assert taken < 2 << 20
            assert not conn.stalled(now + 10 * step, 5), "it took something"
        assert conn.pending_bytes == waiting, "the loop didn't turn: nothing of ours moved"
        assert not conn.stalled(now + 34, 5)
        assert conn.stalled(now + 36, 5), "it takes nothing any more"
    finally:
        conn.close()
        peer.close()


# the last write


@pytest.fixture
def tcp_ends(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[Conn, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    near.setblocking(False)
    far.settimeout(5)
    conn = Conn(near, loop, Origin(client=None, server=None, accepted_at=0.0))
    yield conn, far
    conn.close()
    far.close()


def test_the_last_write_arrives_with_the_end(tcp_ends: tuple[Conn, socket.socket]) -> None:
    conn, far = tcp_ends
    conn.write(b"head", b"body", last=True)
    conn.close()
    assert far.recv(100) == b"headbody"
    assert far.recv(100) == b""


def test_the_last_write_arrives_although_the_peer_has_sent_what_nobody_reads(
    tcp_ends: tuple[Conn, socket.socket],
) -> None:
    """Closing a socket with something unread resets it, and drops what the kernel still holds."""
    conn, far = tcp_ends
    far.sendall(b"unread")
    assert select.select([conn.fd], [], [], 10)[0]
    conn.write(b"answer", last=True)
    conn.close()
    assert far.recv(100) == b"answer"


def test_a_large_last_write_arrives_whole(
    loop: asyncio.AbstractEventLoop, tcp_ends: tuple[Conn, socket.socket]
) -> None:
    conn, far = tcp_ends
    body = os.urandom(8 << 20)

    async def scenario() -> bytes:
        conn.on_flushed = conn.close
        conn.write(b"head", body, last=True)
        assert conn.pending_bytes
        return await read_all(loop, far, len(body) + 5)

    assert loop.run_until_complete(scenario()) == b"head" + body
    assert not conn.is_open


def test_nothing_holds_a_connection_that_is_closed(tcp_ends: tuple[Conn, socket.socket]) -> None:
    """Its callbacks are methods of who holds it: it would take the garbage collector to free both."""
    conn, _ = tcp_ends
    conn.on_broken = conn.on_flushed = conn.finish_writing
    conn.close()
    assert [conn.on_broken, conn.on_flushed] == [None, None]
