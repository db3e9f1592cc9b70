"""Handoff channels that nobody reads: real ones, with real sockets in them."""

import os
import resource
import select
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from hsrv.common.request import RequestHead
from hsrv.ipc.channel import Channel, ChannelClosed, ChannelFull
from hsrv.ipc.messages import (
    Origin,
    ParkedHandoff,
    StreamingHandoff,
    Trace,
    decode_handoff,
    encode,
)
from hsrv.supervisor.sockets.handoffs import Handoffs

DEADLINE = 20.0
OLD, NEW = 1, 2
ORIGIN = Origin(client=None, server=None, accepted_at=0.0)
FILLER = b"x" * 30_000


def head(path: str) -> RequestHead:
    raw = path.encode()
    return RequestHead(
        method="GET",
        target=raw,
        path=path,
        raw_path=raw,
        query=b"",
        http_version="1.1",
        headers=[],
        content_length=None,
        chunked=False,
        keep_alive=True,
        expect_continue=False,
        websocket=False,
        event_stream=True,
    )


def stream(n: int) -> bytes:
    trace = Trace(request_id=str(n))
    return encode(StreamingHandoff(origin=ORIGIN, head=head(f"/{n}"), buffered=b"", trace=trace))


class Server:
    """The channels of two generations. The old one has lost its pool."""

    def __init__(self, patience: float = DEADLINE) -> None:
        self.serving: int | None = NEW
        self.patience = patience
        self.handoffs = Handoffs(lambda: self.serving, lambda: self.patience)
        self.old, self.new = self.handoffs.pair(OLD), self.handoffs.pair(NEW)
        self.clients: list[socket.socket] = []
        self.taken: list[str] = []

    def hand_over(self, *numbers: int) -> None:
        """As a worker does."""
        for n in numbers:
            self._send(stream(n))

    def park(self) -> None:
        self._send(encode(ParkedHandoff(origin=ORIGIN, deadline=0.0)))

    def _send(self, payload: bytes) -> None:
        near, far = socket.socketpair()
        far.settimeout(DEADLINE)
        with near:
            self.old[0].send(payload, near.fileno())
        self.clients.append(far)

    def pool_takes(self) -> list[str]:
        """The requests that a pool finds now. It says so to each client, and closes."""
        found = []
        while (packet := self.new[1].receive()) is not None:
            with packet:
                if packet.payload == FILLER:
                    continue
                message = decode_handoff(packet.payload)
                assert isinstance(message, StreamingHandoff)
                with packet.take_socket() as sock:
                    sock.send(b"pool")
                found.append(message.trace.request_id)
        return found

    def taken_by_now(self) -> list[str]:
        self.taken += self.pool_takes()
        return self.taken

    def answer_to(self, n: int) -> bytes:
        """All that the client who came as number `n` ever gets."""
        with self.clients[n] as client:
            return b"".join(iter(lambda: client.recv(1000), b""))

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def both() -> None:
            with anyio.fail_after(DEADLINE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.handoffs.run)
                    await scenario()
                    tasks.cancel_scope.cancel()

        anyio.run(both)


def fill(channel: Channel) -> None:
    with suppress(ChannelFull):
        while True:
            channel.send(FILLER)


def sockets() -> set[str]:
    """Those that this process holds, by inode: descriptors of earlier tests may be closed meanwhile, and their numbers
    given away again."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of the look itself
            found.add(str(entry.readlink()))
    return {target for target in found if target.startswith("socket:")}


@pytest.fixture
def server() -> Iterator[Server]:
    before = sockets()
    server = Server()
    yield server
    server.handoffs.close_all()
    for client in server.clients:
        client.close()
    assert sockets() <= before


def has_heard(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # a socket that nobody reads here tells nobody
        await anyio.sleep(0.005)


REFUSED = b"HTTP/1.1 503 Service Unavailable\r\n"


def test_what_waits_moves_in_its_order(server: Server) -> None:
    server.hand_over(0, 1, 2)
    server.handoffs.move(OLD)
    assert server.pool_takes() == ["0", "1", "2"]
    assert [server.answer_to(n) for n in range(3)] == [b"pool"] * 3


def test_nobody_is_lost_while_both_channels_are_full(server: Server) -> None:
    """A worker of the old generation lives, and takes the room that is made in its channel."""
    fill(server.new[0])
    server.hand_over(0, 1)
    fill(server.old[0])

    async def scenario() -> None:
        server.handoffs.move(OLD)
        fill(server.old[0])
        server.handoffs.move(OLD)
        assert server.taken_by_now() == []
        await until(lambda: len(server.taken_by_now()) == 2)
        assert server.taken == ["0", "1"]

    server.run(scenario)
    assert [server.answer_to(n) for n in range(2)] == [b"pool"] * 2


def test_who_comes_meanwhile_waits_behind(server: Server) -> None:
    fill(server.new[0])
    server.hand_over(0)
    server.handoffs.move(OLD)
    server.hand_over(1)
    assert server.pool_takes() == []
    server.handoffs.move(OLD)
    assert server.pool_takes() == ["0", "1"]


def test_whom_no_pool_takes_in_time_is_answered_and_the_next_has_his_own_time(server: Server) -> None:
    fill(server.new[0])
    server.hand_over(0, 1)
    server.patience = 0.1

    async def scenario() -> None:
        server.handoffs.move(OLD)
        server.patience = DEADLINE
        await until(lambda: has_heard(server.clients[0]))
        assert not has_heard(server.clients[1])
        server.pool_takes()
        await until(lambda: has_heard(server.clients[1]) or server.pool_takes())

    server.run(scenario)
    assert server.answer_to(0).startswith(REFUSED)
    assert server.answer_to(1) == b"pool"


def test_a_generation_that_is_gone_leaves_its_channel_open_until_all_have_moved(server: Server) -> None:
    fill(server.new[0])
    server.hand_over(0, 1)

    async def scenario() -> None:
        server.handoffs.close(OLD)
        assert server.old[1].fileno() >= 0
        await until(lambda: len(server.taken_by_now()) == 2)
        assert server.taken == ["0", "1"]
        await until(lambda: server.old[1].fileno() < 0)

    server.run(scenario)


def test_who_can_not_move_when_his_generation_is_gone_is_answered_when_his_time_is_over(
    server: Server,
) -> None:
    fill(server.new[0])
    server.hand_over(0, 1, 2)
    server.patience = 0.1
    began = time.monotonic()

    async def scenario() -> None:
        server.handoffs.close(OLD)
        assert not any(has_heard(client) for client in server.clients)
        await until(lambda: has_heard(server.clients[0]))
        assert all(has_heard(client) for client in server.clients)
        assert server.old[1].fileno() < 0

    server.run(scenario)
    assert time.monotonic() - began >= 0.1
    for n in range(3):
        assert server.answer_to(n).startswith(REFUSED)


def test_without_a_generation_that_serves_requests_are_answered_at_once(server: Server) -> None:
    server.hand_over(0)
    server.park()
    server.serving = None
    server.handoffs.close(OLD)
    status, *fields = server.answer_to(0).split(b"\r\n")
    assert status + b"\r\n" == REFUSED
    assert {b"retry-after: 1", b"content-length: 0", b"connection: close"} < set(fields)
    assert server.answer_to(1) == b"", "it had asked for nothing"
    assert server.old[1].fileno() < 0


def test_the_answer_reaches_a_client_who_has_sent_more(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), DEADLINE)
        near, _ = listener.accept()
    client.send(b"more" * 1000)
    with near:
        server.old[0].send(stream(0), near.fileno())
    server.clients.append(client)
    server.handoffs.close_all()
    assert server.answer_to(0).startswith(REFUSED)


def test_the_end_of_the_server_answers_who_is_held_and_who_is_queued(server: Server) -> None:
    fill(server.new[0])
    server.hand_over(0, 1)
    server.handoffs.move(OLD)
    server.handoffs.close_all()
    assert [server.answer_to(n).startswith(REFUSED) for n in range(2)] == [True, True]


def test_a_packet_that_is_none_costs_itself(server: Server) -> None:
    server.old[0].send(b"nonsense")
    server.hand_over(0)
    server.handoffs.close_all()
    assert server.answer_to(0).startswith(REFUSED)


def test_without_descriptors_all_stays_queued_until_there_are_some(server: Server) -> None:
    server.hand_over(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario() -> None:
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            server.handoffs.move(OLD)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: server.pool_takes() == ["0"])

    server.run(scenario)


def test_nobody_tries_when_nothing_waits(server: Server) -> None:
    fill(server.new[0])
    server.hand_over(0)

    async def scenario() -> None:
        server.handoffs.move(OLD)
        await until(lambda: server.taken_by_now() == ["0"])
        before = time.process_time()
        await anyio.sleep(0.5)  # in which a loop that spins would compute
        assert time.process_time() - before < 0.25

    server.run(scenario)


def test_the_one_that_serves_is_not_moved_to_itself(server: Server) -> None:
    server.serving = OLD
    server.hand_over(0)
    server.handoffs.move(OLD)
    server.serving = NEW
    server.handoffs.move(OLD)
    assert server.pool_takes() == ["0"]


def test_a_channel_that_nobody_can_read_loses_nobody(server: Server) -> None:
    server.new[1].close()
    with pytest.raises(ChannelClosed):
        server.new[0].send(b"")
    server.hand_over(0)
    server.patience = 0.05

    async def scenario() -> None:
        server.handoffs.move(OLD)
        await until(lambda: has_heard(server.clients[0]))

    server.run(scenario)
    assert server.answer_to(0).startswith(REFUSED)
