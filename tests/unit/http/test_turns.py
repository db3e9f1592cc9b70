"""Responses of one turn of the loop leave together; whatever may take long doesn't keep them back."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from hsrv.board.scoreboard import Scoreboard
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.errors import ClientDisconnected
from hsrv.common.terms import EndReason, Identity, Role
from hsrv.http.connection import HTTPConnection
from hsrv.http.host import HTTPHost
from hsrv.http.states import State
from hsrv.ipc.channel import ChannelFull
from hsrv.ipc.messages import Origin
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from hsrv.net.outbox import PATIENCE
from hsrv.options.config import Config
from tests.unit.http.fakehost import Served, serving

DEADLINE = 10.0
ASK = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}
SIZE = 8000
"""Of a response's body: small enough to wait for the end of the turn."""


class Turn:
    """Several connections of one process, which all have a request when the loop turns."""

    def __init__(self) -> None:
        self.loop = new_loop("asyncio")
        config = Config(access_log=False)
        self.host = HTTPHost(Identity(Role.WORKER, 1, 1), config, self.app, self.loop, Scoreboard())
        self.clients: list[socket.socket] = []
        self.connections: list[HTTPConnection] = []
        self.heard: list[list[bytes]] = []
        """What had arrived at each client, by the number of the call that saw it."""
        self.act: Callable[[str], None] = lambda path: None

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.act(scope["path"])
        self.heard.append([self.read(client) for client in self.clients])
        await send(START)
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    @staticmethod
    def read(client: socket.socket) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return client.recv(1 << 20, socket.MSG_PEEK)
        return b""

    def connect(self) -> None:
        ours, client = socket.socketpair()
        for end in (ours, client):
            end.setblocking(False)
        origin = Origin(client=("192.0.2.1", 1), server=None, accepted_at=self.loop.time())
        connection = HTTPConnection(Conn(ours, self.loop, origin), self.host)
        with self.host.turn:
            self.host.opened(connection)
            connection.start()
        self.clients.append(client)
        self.connections.append(connection)

    def ask(self, *paths: bytes) -> None:
        """One request on each connection, all answered."""
        self.heard.clear()
        for client, path in zip(self.clients, paths, strict=False):
            client.sendall(ASK % path)
        served = [connection.served for connection in self.connections]
        count = len(paths)

        async def turn() -> None:
            async with asyncio.timeout(DEADLINE):
                while sum(connection.served for connection in self.connections) < sum(served) + count:  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    def forget(self) -> None:
        for client in self.clients:
            with contextlib.suppress(BlockingIOError):
                client.recv(1 << 20)

    def close(self) -> None:
        for connection in self.connections:
            connection.close(EndReason.DRAINED)
        for client in self.clients:
            client.close()
        self.loop.close()


@pytest.fixture
def turn() -> Iterator[Turn]:
    with contextlib.closing(Turn()) as found:
        for _ in range(3):
            found.connect()
        for _ in range(40):  # until the path is known to be short
            found.ask(b"fast", b"fast", b"fast")
            found.forget()
        yield found


def test_responses_of_a_turn_leave_together_when_the_calls_are_known_to_be_short(turn: Turn) -> None:
    for _ in range(20):  # the machine may be busy, and a call take long
        turn.ask(b"fast", b"fast", b"fast")
        answers = [turn.read(client) for client in turn.clients]
        turn.forget()
        if not any(map(any, turn.heard)):
            break
    assert turn.heard == [[b"", b"", b""]] * 3, "no call saw an answer of another"
    assert all(answer.endswith(b"\r\n\r\n/fast") for answer in answers)


@pytest.mark.parametrize("path", [b"unknown", b"slow"])
def test_a_call_that_is_not_known_to_be_short_runs_after_the_others_are_answered(
    turn: Turn, path: bytes
) -> None:
    """Also one that was short often and took long lately."""
    turn.act = lambda path: time.sleep(3 * PATIENCE) if path == "/slow" else None
    if path == b"slow":
        turn.ask(path)
        turn.forget()
    turn.ask(b"fast", b"fast", path)
    saw = turn.heard[-1]
    assert saw[0].endswith(b"/fast")
    assert saw[1].endswith(b"/fast")


def test_many_short_calls_keep_no_answer_for_longer_than_its_patience() -> None:
    """Each takes a third of it, so no more than three wait together."""
    with contextlib.closing(Turn()) as turn:
        for _ in range(10):
            turn.connect()
        turn.act = lambda path: time.sleep(PATIENCE / 4)
        for _ in range(40):
            turn.ask(*[b"third"] * 10)
            turn.forget()
        turn.ask(*[b"third"] * 10)
        waited = [
            next(at for at, heard in enumerate(turn.heard) if heard[number]) - number for number in range(5)
        ]
        assert max(waited) <= 5


# pipelined requests


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": scope["path"].encode() * (SIZE // len(scope["path"]))})


def bodies(data: bytes) -> list[bytes]:
    """The first bytes of each body."""
    return [part[:3] for part in data.split(b"\r\n\r\n")[1:]]


def test_pipelined_requests_share_a_read_and_a_write() -> None:
    seen: list[bytes] = []

    async def small(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(Turn.read(served.client))
        await send(START)
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    with serving(small) as served:
        for _ in range(30):  # the path is known to be short then, unless the machine is too busy
            before = served.connection.served
            seen.clear()
            served.say(b"".join(ASK % b"%03d" % number for number in range(5)))
            served.until(lambda: served.connection.served == before + 5)  # noqa: B023  # called at once
            served.read()
            if not any(seen):
                break
        assert seen == [b""] * 5, "no call saw an answer of another"


@pytest.mark.parametrize("half_closes", [False, True])
def test_finished_responses_that_the_client_does_not_take_are_not_lost(half_closes: bool) -> None:
    """They wait for the end of the turn, between two requests, when it turns out."""
    with serving(echo) as served:
        for _ in range(40):
            served.host.call_times.took(b"/0", 0.0)
        served.connection.conn._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        served.say(ASK % b"00" + ASK % b"01" + b"GET /")
        if half_closes:
            served.client.shutdown(socket.SHUT_WR)
        served.reach(State.WRITING)
        assert served.connection.served in (1, 2)  # 1: the machine was slow, and the first one left in time
        assert not served.connection.unused
        served.until(lambda: len(served.read()) > 2 * SIZE)
        assert bodies(served.got) == [b"/00", b"/01"]
        served.reach(State.CLOSED if half_closes else State.READING)


@pytest.mark.parametrize("half_closes", [False, True])
def test_a_client_that_pipelines_and_does_not_read_gets_every_response_in_the_end(half_closes: bool) -> None:
    with serving(echo) as served:
        served.connection.conn._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        served.say(b"".join(ASK % b"%02d" % number for number in range(8)))
        if half_closes:
            served.client.shutdown(socket.SHUT_WR)
        served.until(lambda: served.state is State.WRITING)
        assert not served.connection.unused
        served.until(lambda: served.read().count(b"HTTP/1.1") == 8 and len(served.got) > 8 * SIZE - 100)
        assert bodies(served.got) == [b"/%02d" % number for number in range(8)]
        served.reach(State.CLOSED if half_closes else State.IDLE)


def test_a_connection_whose_responses_wait_can_not_be_given_away() -> None:
    class Receiver:
        def send(self, payload: bytes, *fds: int) -> None:
            raise AssertionError("it holds unwritten responses")

    with serving(echo) as served:
        served.connection.conn._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        served.say(b"".join(ASK % b"%02d" % number for number in range(8)))
        served.until(lambda: served.connection.conn.pending_bytes)
        with served.host.turn, pytest.raises(ChannelFull):
            served.connection.conn.give(Receiver(), b"")


def test_other_clients_have_their_turn_between_pipelined_requests() -> None:
    with contextlib.closing(Turn()) as turn:
        turn.connect()
        turn.connect()
        paths: list[str] = []
        turn.act = paths.append
        turn.clients[0].sendall(ASK % b"one" * 5)
        turn.ask(b"one", b"two")
        assert paths.index("/two") <= 1


# a client that leaves


@pytest.mark.parametrize("ready", [1, 2])
def test_a_disconnect_reaches_the_next_send(ready: int) -> None:
    raised: list[BaseException] = []
    pause = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        await pause.wait()
        try:
            await send({"type": "http.response.body", "body": b"2", "more_body": True})
            await asyncio.sleep(0.01)
            await send({"type": "http.response.body", "body": b"3", "more_body": True})
        except OSError as error:
            raised.append(error)

    def leave(served: Served) -> None:
        served.hear(b"1")
        served.host.turn.acquire()
        served.connection.conn.outbox.begin(several=ready > 1)
        served.connection.conn.unwatch()  # nothing but a write can tell
        served.host.turn.release()
        served.client.close()
        pause.set()

    with serving(app) as served:
        served.say(ASK % b"stream")
        leave(served)
        served.until(lambda: raised)
    assert isinstance(raised[0], ClientDisconnected)
