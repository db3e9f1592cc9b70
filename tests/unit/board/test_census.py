"""The table of what all processes hold: with real processes, for its promise is about their deaths."""

import asyncio
import contextlib
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import msgspec
import pytest

from hsrv.board import census
from hsrv.board.census import Census, CensusKind
from hsrv.ipc.messages import Origin
from hsrv.net.conn import Conn
from hsrv.options.config import Config

HERE = "10.1.2.3"


@pytest.fixture
def table() -> Iterator[int]:
    fd = census.new_file()
    yield fd
    os.close(fd)


@pytest.fixture
def mine(table: int) -> Iterator[Census]:
    """A row of ours. `table` is kept for others: to close it would end our locks, so the row gets a copy first."""
    one = Census(os.dup(table))
    yield one
    one.close()


class Connections:
    """Connections of any clients, as far as the census is concerned."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = ExitStack()
        self._stack.callback(self._loop.close)

    def of(self, host: str, port: int | None = 5) -> Conn:
        ours, theirs = socket.socketpair()
        self._stack.enter_context(theirs)
        conn = Conn(ours, self._loop, Origin(client=(host, port), server=None, accepted_at=0.0))
        self._stack.callback(conn.close)
        return conn

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def connections() -> Iterator[Connections]:
    made = Connections()
    yield made
    made.close()


Elsewhere = Callable[[Callable[[Census], None]], int]


@pytest.fixture
def elsewhere(table: int) -> Iterator[Elsewhere]:
    """Another process with a row of its own, which does something and lives until it is killed; its pid."""
    pids: list[int] = []

    def start(do: Callable[[Census], None]) -> int:
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # other threads, which have nothing to do with it
            pid = os.fork()
        if pid == 0:  # pragma: no cover  # not in this process
            try:
                one = Census(table)
                do(one)
                os.write(write, b"done")
                signal.pause()
            finally:
                os._exit(1)
        pids.append(pid)
        os.close(write)
        assert os.read(read, 4) == b"done"
        os.close(read)
        return pid

    yield start
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            kill(pid)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_connection_counts_until_it_leaves(mine: Census, connections: Connections) -> None:
    one, other, third = (connections.of(host) for host in (HERE, HERE, "10.9.9.9"))
    for conn in (one, other, third):
        mine.enter(conn)
    assert mine.total(CensusKind.CONNECTIONS) == 3
    assert mine.of_client((HERE, 1)) == 2, "whatever its port"
    one.close()
    one.close()
    assert (mine.total(CensusKind.CONNECTIONS), mine.of_client((HERE, 1))) == (2, 1)
    mine.leave(other)
    other.close()
    assert (mine.total(CensusKind.CONNECTIONS), mine.of_client((HERE, 1))) == (1, 0)
    assert mine.of_client(("10.9.9.9", 1)) == 1


def test_an_address_of_ipv6_is_its_network_and_ipv4_in_it_is_ipv4(
    mine: Census, connections: Connections
) -> None:
    for host in ("2001:db8::1", "2001:db8::2:ffff", "::ffff:10.1.2.3", "fe80::1%eth0"):
        mine.enter(connections.of(host))
    assert mine.of_client(("2001:db8::9", 1)) == 2
    assert mine.of_client(("2001:db8:0:1::9", 1)) == 0
    assert mine.of_client((HERE, 1)) == 1
    assert mine.of_client(("fe80::2", 1)) == 1


def test_those_of_a_unix_socket_are_nobodys_but_count_together(
    mine: Census, connections: Connections
) -> None:
    conn = connections.of("/run/app.sock", None)
    mine.enter(conn)
    assert mine.total(CensusKind.CONNECTIONS) == 1
    assert mine.of_client(conn.origin.client) == 0
    assert mine.of_client(None) == 0


def test_what_others_hold_counts_and_is_forgotten_with_them(mine: Census, elsewhere: Elsewhere) -> None:
    mine.set(CensusKind.STREAMS, 2)
    pids = [elsewhere(lambda one: one.set(CensusKind.STREAMS, 5)) for _ in range(3)]
    assert mine.total(CensusKind.STREAMS) == 17
    mine.forget_the_dead()
    assert mine.total(CensusKind.STREAMS) == 17, "nobody is dead"
    for pid in pids[:2]:
        kill(pid)
    mine.forget_the_dead()
    assert mine.total(CensusKind.STREAMS) == 7
    fourth = elsewhere(lambda one: one.set(CensusKind.STREAMS, 1))
    assert mine.total(CensusKind.STREAMS) == 8
    kill(fourth)
    mine.forget_the_dead()
    assert mine.total(CensusKind.STREAMS) == 7


def test_who_takes_the_row_of_a_dead_one_begins_at_nothing(
    table: int, connections: Connections, elsewhere: Elsewhere
) -> None:
    conn = connections.of(HERE)
    kill(elsewhere(lambda one: one.enter(conn)))
    copy = Census(os.dup(table))
    assert copy.total(CensusKind.CONNECTIONS) == 0
    assert copy.of_client((HERE, 1)) == 0
    copy.close()


def test_a_closed_one_holds_nothing_and_counts_nothing(mine: Census, connections: Connections) -> None:
    conn = connections.of(HERE)
    mine.enter(conn)
    mine.close()
    mine.close()
    assert mine.total(CensusKind.CONNECTIONS) == 0
    conn.close()
    mine.enter(connections.of(HERE))
    assert mine.total(CensusKind.CONNECTIONS) == 0


def test_ten_thousand_clients_are_hardly_ever_taken_for_each_other(
    mine: Census, connections: Connections
) -> None:
    """An attacker with a thousand connections doesn't keep others out."""
    attacker = connections.of("10.0.0.1")
    for _ in range(1000):
        mine.enter(attacker)
    taken = sum(mine.of_client((f"10.1.{n >> 8}.{n & 255}", 1)) > 0 for n in range(10_000))
    assert taken < 3


@pytest.mark.parametrize(
    "option",
    [
        "limit_connections",
        "limit_connections_per_client",
        "limit_concurrency",
        "limit_streams",
        "limit_websockets",
    ],
)
def test_each_limit_needs_it(option: str) -> None:
    assert not census.is_needed(Config())
    assert census.is_needed(msgspec.convert({option: 1}, Config))
