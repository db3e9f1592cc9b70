"""The acceptor on a real loop and real listeners."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hsrv.board.lasttaken import LastTaken
from hsrv.http.contract import Outcome
from hsrv.ipc.messages import ListenerInfo, Origin
from hsrv.net.loops import new_loop
from hsrv.net.takeloop import BATCH_TIME
from hsrv.serving.accept import ACCEPT_BATCH, Acceptor

DEADLINE = 10.0


class AcceptorHost:
    """Takes everybody in."""

    def __init__(self) -> None:
        self.acceptor: Acceptor | None = None
        self.stay = False
        """Whether connections stay open."""
        self.takes = 0.0
        """Seconds that each costs."""
        self.pause_after = 0
        self.at_once: list[bool] = []
        self.origins: list[Origin] = []
        self.socks: list[socket.SocketType] = []

    def accepted(self, sock: socket.SocketType, origin: Origin, *, at_once: bool) -> Outcome:
        self.at_once.append(at_once)
        self.origins.append(origin)
        self.socks.append(sock)
        end = time.monotonic() + self.takes
        while time.monotonic() < end:
            pass
        if not self.stay:
            sock.close()
        if self.acceptor is not None and len(self.socks) == self.pause_after:
            self.acceptor.pause()
        return Outcome.HERE if self.stay else Outcome.OVER

    def has_room(self) -> bool:
        return True

    def make_room(self, count: int) -> int:
        return 0

    def refuse_unread(self, sock: socket.SocketType, origin: Origin) -> None:
        sock.close()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = new_loop("asyncio")  # of which it is known what one turn does
    yield loop
    loop.close()


@pytest.fixture
def host() -> Iterator[AcceptorHost]:
    host = AcceptorHost()
    yield host
    for sock in host.socks:
        sock.close()


def listening(
    address: str = "127.0.0.1", family: socket.AddressFamily = socket.AF_INET
) -> tuple[ListenerInfo, socket.socket]:
    sock = socket.create_server((address, 0), family=family, backlog=64)
    sock.setblocking(False)
    host, port = sock.getsockname()[:2]
    return ListenerInfo(url="", address=(host, port)), sock


def accept(
    loop: asyncio.AbstractEventLoop,
    host: AcceptorHost,
    listener: tuple[ListenerInfo, socket.socket],
    clients: int,
    *,
    turns: int = 1,
    batch_time: float = BATCH_TIME,
) -> list[int]:
    """So many connect; how many are accepted in each turn of the loop."""
    acceptor = Acceptor(
        [listener], loop, host, host, patience=1.0, last_taken=LastTaken(), batch_time=batch_time
    )
    host.acceptor = acceptor
    target = listener[1].getsockname()
    taken = [0]
    with contextlib.ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(socket.socket(listener[1].family))
            client.settimeout(DEADLINE)
            client.connect(target)
        acceptor.resume()
        for _ in range(turns):
            loop.call_soon(loop.stop)
            loop.run_forever()
            taken.append(len(host.socks))
        acceptor.close(last=0)
    return [after - before for before, after in pairwise(taken)]


def test_connections_that_are_over_at_once_are_accepted_in_one_turn(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost
) -> None:
    found = accept(loop, host, listening(), ACCEPT_BATCH + 3, turns=2, batch_time=DEADLINE)
    assert found == [ACCEPT_BATCH, 3]
    assert all(host.at_once)


def test_a_connection_that_stays_is_the_only_one_of_its_turn(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost
) -> None:
    """Its siblings may be idle, and could serve the next one now."""
    host.stay = True
    assert accept(loop, host, listening(), 3, turns=3) == [1, 1, 1]


def test_a_connection_that_takes_long_is_the_only_one_of_its_turn(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost
) -> None:
    host.takes = 2 * BATCH_TIME
    assert accept(loop, host, listening(), 3, turns=3) == [1, 1, 1]


def test_nobody_is_accepted_after_a_pause_amid_a_batch(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost
) -> None:
    host.pause_after = 1
    assert accept(loop, host, listening(), 3, turns=2) == [1, 0]


def test_at_the_end_those_who_wait_are_accepted_also_if_they_stay(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost
) -> None:
    host.stay = True
    listener = listening()
    acceptor = Acceptor([listener], loop, host, host, patience=1.0, last_taken=LastTaken())
    clients = [socket.create_connection(listener[1].getsockname(), timeout=DEADLINE) for _ in range(3)]
    acceptor.close(last=2)
    assert host.at_once == [False, False], "the loop goes on: they are read when it turns"
    for client in clients:
        client.close()


@pytest.mark.parametrize("inherited", [False, True])
def test_no_connection_delays_small_segments(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost, inherited: bool
) -> None:
    listener = listening()
    listener[1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(inherited))
    host.stay = True
    accept(loop, host, listener, 1)
    [sock] = host.socks
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not sock.getblocking()
    assert not os.get_inheritable(sock.fileno())


@pytest.mark.parametrize(
    ("bound", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("0.0.0.0", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("::", socket.AF_INET6),
    ],
)
def test_both_addresses_are_those_of_the_connection(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost, bound: str, family: socket.AddressFamily
) -> None:
    try:
        listener = listening(bound, family)
    except OSError:
        pytest.skip("no IPv6")
    host.stay = True
    accept(loop, host, listener, 1)
    [origin], [sock] = host.origins, host.socks
    assert origin.client == sock.getpeername()[:2]
    assert origin.server == sock.getsockname()[:2]


def test_over_a_unix_socket_the_client_has_no_address(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost, tmp_path: Path
) -> None:
    path = str(tmp_path / "s")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    sock.setblocking(False)
    accept(loop, host, (ListenerInfo(url="", address=(path, None)), sock), 1)
    [origin] = host.origins
    assert (origin.client, origin.server) == (None, (path, None))


def test_accepts_that_fail_again_and_again_are_told_ever_more_rarely(
    loop: asyncio.AbstractEventLoop, host: AcceptorHost
) -> None:
    info, sock = listening()
    acceptor = Acceptor(
        [(info, sock)], loop, host, host, patience=1.0, last_taken=LastTaken(), batch_time=BATCH_TIME
    )
    sock.shutdown(socket.SHUT_RDWR)  # from now on accept() fails, and the socket stays readable
    acceptor.resume()
    with capture_logs() as logs:
        for _ in range(20):
            loop.call_soon(loop.stop)
            loop.run_forever()
    acceptor.close(last=0)
    told = [entry["count"] for entry in logs if entry["event"] == "accept failed"]
    assert told == [1, 2, 4, 8, 16]
