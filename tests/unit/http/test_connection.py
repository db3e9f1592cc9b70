"""One connection, by its own methods, over a socket pair."""

import asyncio
import math
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from hsrv.board.scoreboard import Scoreboard
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.terms import EndReason, Identity, ProxyProtocol, Role
from hsrv.http.bodies import PIPELINE_LIMIT
from hsrv.http.connection import HTTPConnection
from hsrv.http.contract import Connection, Outcome
from hsrv.http.host import HTTPHost
from hsrv.http.states import State
from hsrv.ipc.channel import Channel, ChannelError, ChannelFull
from hsrv.ipc.messages import Origin, decode_adoption
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from hsrv.options.config import Config
from hsrv.system.native import is_compiled
from tests.unit.http.fakehost import Served, serving

ASKED = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % 10**40


async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def after_a_turn(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0)
    await at_once(scope, receive, send)


@contextmanager
def connected(
    app: Application, loop: asyncio.AbstractEventLoop
) -> Iterator[tuple[HTTPConnection, socket.socket]]:
    ours, client = socket.socketpair()
    with client:
        for end in (ours, client):
            end.setblocking(False)
        host = HTTPHost(Identity(Role.WORKER, 1, 1), Config(access_log=False), app, loop, Scoreboard())
        origin = Origin(client=("192.0.2.1", 1), server=("192.0.2.2", 2), accepted_at=loop.time())
        connection = HTTPConnection(Conn(ours, loop, origin), host)
        host.opened(connection)
        connection.start()
        yield connection, client
        connection.close(EndReason.COMPLETED)


@pytest.mark.parametrize("app", [at_once, after_a_turn])
def test_a_client_that_asks_faster_than_it_is_answered_fills_no_memory(app: Application) -> None:
    """It reads the answers: nothing else holds it back."""
    requests = 6 * PIPELINE_LIMIT // len(ASKED)
    loop = new_loop("auto")

    async def ask(connection: HTTPConnection, client: socket.socket) -> tuple[int, int]:
        unsent, answers, most = memoryview(ASKED * requests), bytearray(), 0
        while not answers.endswith(b"\r\n\r\nok") or answers.count(b"HTTP/1.1 200") < requests:
            if unsent:
                with suppress(BlockingIOError):
                    unsent = unsent[client.send(unsent) :]
            await asyncio.sleep(0)
            with suppress(BlockingIOError):
                answers += client.recv(1 << 20)
            most = max(most, len(connection.buffer))
        return answers.count(b"HTTP/1.1 200"), most

    with connected(app, loop) as (connection, client):
        answered, most = loop.run_until_complete(asyncio.wait_for(ask(connection, client), 60))
    loop.close()
    assert answered == requests
    assert PIPELINE_LIMIT < most <= 3 * PIPELINE_LIMIT


async def streams_late(scope: Scope, receive: Receive, send: Send) -> None:
    """And never asks for its client."""
    await asyncio.sleep(0.05)
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("begun", [False, True])
def test_a_stream_in_a_worker_ends_when_its_client_half_closes(begun: bool) -> None:
    """Before the response has begun, nobody knows that it is a stream: then as soon as it is."""
    loop = new_loop("auto")

    async def ask(connection: HTTPConnection, client: socket.socket) -> None:
        host = connection.host
        assert isinstance(host, HTTPHost)
        client.sendall(ASKED)
        await asyncio.sleep(0.1 if begun else 0.01)
        assert bool(connection.exchange and connection.exchange.encoder.started) is begun
        client.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(20):
            while host.calls.all:  # noqa: ASYNC110  # nothing tells when it is empty
                await asyncio.sleep(0.01)

    with connected(streams_late, loop) as (connection, client):
        loop.run_until_complete(ask(connection, client))
    loop.close()


# in each state, by a host in memory: what is done with bytes, at the end of input, and when it is too late

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
PROXY = b"PROXY TCP4 198.51.100.7 192.0.2.2 4711 80\r\n"


async def echoes(scope: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"<" + body + b">"})


async def never_answers(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    while (await receive())["type"] != "http.disconnect":
        pass


async def answers_much(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(8 << 20)})


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("no")


def later(connection: Connection) -> Outcome:
    return Outcome.LATER


def reached(state: State) -> Iterator[Served]:
    """A connection in that state."""
    app: Application = {State.WRITING: answers_much, State.RUNNING: never_answers}.get(state, at_once)
    with serving(app, proxied=state is State.PREFACE, proxy_protocol=ProxyProtocol.V1) as served:
        if state is State.READING:
            served.say(ASK[:9])
        elif state is State.WAITING:
            served.host.decides["take"] = later
            served.say(ASK)
        elif state is State.BODY:
            served.say(POST + b"12")
        elif state is State.DISCARDING:
            served.say(CHUNKED)
        elif state is State.LINGERING:
            served.say(b"nonsense\r\n\r\n")
        elif state in (State.RUNNING, State.WRITING):
            served.say(ASK)
        served.reach(state)
        yield served


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    yield from reached(request.param)


def in_state(*rows: tuple[State, object]) -> pytest.MarkDecorator:
    """(state, what is expected)"""
    names = [state.name for state, _ in rows]
    return pytest.mark.parametrize(("served", "expected"), rows, indirect=["served"], ids=names)


def test_a_request_moves_from_idle_to_running_and_back_and_its_host_is_told() -> None:
    with serving(echoes) as served:
        for _ in range(2):
            served.got = b""
            served.say(ASK)
            assert served.hear(b"<>").startswith(b"HTTP/1.1 200 OK\r\n")
            assert served.state is State.IDLE
        assert served.connection.served == 2
        assert served.host.told == [("take", None), ("finished", EndReason.COMPLETED), ("idle", None)] * 2


@in_state(
    (State.PREFACE, (PROXY + ASK, b"200 OK")),
    (State.IDLE, (ASK, b"200 OK")),
    (State.READING, (ASK[9:], b"200 OK")),
    (State.BODY, (b"34", b"200 OK")),
    (State.DISCARDING, (b"2\r\nab\r\n0\r\n\r\n" + ASK, b"ok" + b"HTTP/1.1 200 OK")),
    (State.LINGERING, (ASK, b"400 Bad Request")),
)
def test_bytes_that_arrive(served: Served, expected: tuple[bytes, bytes]) -> None:
    say, hear = expected
    served.say(say)
    served.hear(hear)
    assert served.state in (State.IDLE, State.LINGERING)


def test_what_comes_while_a_request_waits_is_kept_up_to_a_limit_and_served_after_it() -> None:
    with serving(at_once) as served:
        served.host.decides["take"] = later
        served.say(ASK)
        served.reach(State.WAITING)
        served.say(ASK)
        served.until(lambda: len(served.connection.buffer) == len(ASK))
        served.host.decides.clear()
        with served.host.turn:
            served.connection.proceed()
        served.until(lambda: served.read().count(b"200 OK") == 2)


@in_state(
    (State.PREFACE, EndReason.CLIENT_GONE),
    (State.IDLE, EndReason.CLIENT_GONE),
    (State.READING, EndReason.CLIENT_GONE),
    (State.BODY, EndReason.CLIENT_GONE),
    (State.DISCARDING, EndReason.CLIENT_GONE),
    (State.LINGERING, EndReason.COMPLETED),
)
def test_the_client_closes_its_side_and_nothing_is_left_to_answer(
    served: Served, expected: EndReason
) -> None:
    served.client.shutdown(socket.SHUT_WR)
    served.reach(State.CLOSED)
    assert served.host.reasons() == [expected]


@in_state((State.WAITING, None), (State.WRITING, None))
def test_the_client_closes_its_side_and_may_still_read(served: Served, expected: None) -> None:
    before = served.state
    served.client.shutdown(socket.SHUT_WR)
    served.until(lambda: not served.connection.conn.reading)
    assert served.state is before


@pytest.mark.parametrize(("answers", "reason"), [(True, "completed"), (False, "client_gone")])
def test_a_half_closed_client_is_answered_where_the_host_says_so(answers: bool, reason: str) -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        with suppress(OSError):
            await at_once(scope, receive, send)

    with serving(waits) as served:
        served.host.answers_half_closed = answers
        served.say(ASK)
        served.reach(State.RUNNING)
        served.client.shutdown(socket.SHUT_WR)
        served.reach(State.CLOSED)
        assert served.host.reasons() == [EndReason(reason)]


@in_state(
    (State.PREFACE, (b"", State.CLOSED, EndReason.PROXY_HEADER)),
    (State.IDLE, (b"", State.CLOSED, EndReason.FIRST_BYTE_TIMEOUT)),
    (State.READING, (b" 408 ", State.LINGERING, EndReason.HEAD_TIMEOUT)),
    (State.WAITING, (b" 503 ", State.LINGERING, None)),
    (State.BODY, (b" 408 ", State.LINGERING, EndReason.BODY_TIMEOUT)),
    (State.DISCARDING, (b"ok", State.CLOSED, EndReason.BODY_TIMEOUT)),
    (State.LINGERING, (b" 400 ", State.CLOSED, EndReason.COMPLETED)),
)
def test_a_state_that_has_lasted_too_long(
    served: Served, expected: tuple[bytes, State, EndReason | None]
) -> None:
    heard, state, reason = expected
    served.too_late()
    assert served.state is state
    served.hear(heard)
    assert reason is None or reason in [what for _, what in served.host.told]


@in_state((State.RUNNING, None), (State.WRITING, None))
def test_what_has_no_deadline_of_its_own_is_left_alone(served: Served, expected: None) -> None:
    before = served.state
    with served.host.turn:
        served.connection.check(served.loop.time() + 1.0)
        served.connection.deadline = 0.0
        served.connection.check(served.loop.time())
    assert served.state is before
    assert served.connection.deadline == math.inf


def test_a_stream_that_was_asked_to_end_and_does_not_is_cut() -> None:
    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with suppress(OSError):
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0.001)

    with serving(streams) as served:
        served.say(ASK)
        served.hear(b"x")
        with served.host.turn:
            served.connection.end_stream()
        served.too_late()
        assert served.state is State.CLOSED
        assert ("finished", EndReason.DRAINED) in served.host.told


def test_a_body_that_the_application_waits_for_is_timed_and_refused() -> None:
    with serving(echoes) as served:
        served.say(CHUNKED + b"2\r\nab\r\n")
        served.until(lambda: served.state is State.RUNNING and served.connection.deadline < math.inf)
        served.until(lambda: served.host.names().count("held_up"))
        served.too_late()
        served.hear(b" 408 ")
        assert served.host.names().count("goes_on") == served.host.names().count("held_up")


def test_a_body_in_tiny_chunks_is_read_slice_by_slice() -> None:
    with serving(echoes) as served:
        served.say(CHUNKED + b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n")
        served.hear(b"<" + b"x" * 2000 + b">")


def test_an_application_that_fails_is_answered_for() -> None:
    with serving(fails) as served:
        served.say(ASK)
        served.hear(b" 500 ")
        assert "report_app_error" in served.host.names()


def test_a_response_that_the_client_takes_late_is_finished_when_it_has() -> None:
    with serving(answers_much) as served:
        served.say(ASK)
        served.reach(State.WRITING)
        assert "finished" not in served.host.names()
        served.until(lambda: served.read() and served.state is State.IDLE)
        assert ("finished", EndReason.COMPLETED) in served.host.told


@in_state((State.RUNNING, None), (State.WRITING, None))
def test_a_client_that_is_lost_while_it_is_answered(served: Served, expected: None) -> None:
    with served.host.turn:
        served.connection.cut()
    assert served.state is State.CLOSED
    assert ("finished", EndReason.CLIENT_GONE) in served.host.told


# to another process


@in_state((State.IDLE, b""), (State.READING, ASK[:9]), (State.PREFACE, b""))
def test_a_connection_that_is_given_away_takes_along_what_was_read(served: Served, expected: bytes) -> None:
    here, there = Channel.pair()
    with closing(here), closing(there):
        with served.host.turn:
            served.connection.give(here, served.connection.adoption(), "adopt")
        packet = there.receive()
        assert packet is not None
        with packet:
            assert decode_adoption(packet.payload).buffered == expected
            assert len(packet) == 1
    assert served.state is State.HANDED_OFF
    assert served.host.reasons() == [EndReason.HANDED_OFF]


class Full:
    def send(self, payload: bytes, *fds: int) -> None:
        raise ChannelFull("no room")


@in_state((State.IDLE, None), (State.READING, None))
def test_a_connection_that_finds_no_room_stays_and_is_served(served: Served, expected: None) -> None:
    with served.host.turn, pytest.raises(ChannelError):
        served.connection.give(Full(), b"", "adopt")
    served.say(ASK[len(served.connection.buffer) :])
    served.hear(b"200 OK")


def test_an_idle_connection_that_the_host_takes_away_is_touched_no_more() -> None:
    def release(connection: Connection) -> Outcome:
        taken.append(connection.release())
        return Outcome.ELSEWHERE

    taken: list[tuple[Conn, bytes]] = []
    with serving(at_once) as served:
        served.host.decides["idle"] = release
        served.say(ASK + ASK)
        served.hear(b"200 OK")
        served.reach(State.HANDED_OFF)
        (conn, buffered), *_ = taken
        assert buffered == ASK
        assert conn.origin.requests_served == 1
        with served.host.turn:
            conn.close()


# the PROXY header


def test_the_addresses_of_a_proxy_header_are_the_connections() -> None:
    with serving(at_once, proxied=True, proxy_protocol=ProxyProtocol.V1) as served:
        served.say(PROXY[:20])
        served.until(lambda: served.connection.buffer)
        served.say(PROXY[20:])
        served.reach(State.IDLE)
        assert served.connection.conn.origin.client == ("198.51.100.7", 4711)
        assert served.host.names() == ["identified"]


@pytest.mark.parametrize("say", [ASK, PROXY[:20]])
def test_a_proxy_that_says_nothing_of_its_client_is_not_answered(say: bytes) -> None:
    with serving(at_once, proxied=True, proxy_protocol=ProxyProtocol.V1) as served:
        served.say(say)
        served.client.shutdown(socket.SHUT_WR)
        served.reach(State.CLOSED)
        assert served.host.names() == ["closed", "proxy_refused"]
        assert served.client.recv(100) == b""


# the lock


@pytest.mark.skipif(is_compiled(), reason="a compiled class has no subclass that looks")
def test_what_is_called_from_outside_without_the_lock_is_found() -> None:
    with serving(at_once) as served:
        for touch in (served.connection.look, served.connection.body_awaited, served.connection.conn.unwatch):
            with pytest.raises(AssertionError, match="without the lock"):
                touch()
