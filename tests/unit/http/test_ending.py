"""How a connection ends: what its client gets, what its application hears, what its host is told."""

import socket
from collections.abc import Callable

import pytest

from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.errors import ClientError
from hsrv.common.terms import EndReason
from hsrv.http.states import State
from tests.unit.http.fakehost import Served, serving

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def waits(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await receive()


async def streams(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"part", "more_body": True})
    await receive()
    await receive()


def test_a_refused_request_is_answered_and_nothing_after_it_is_read() -> None:
    with serving() as served:
        served.say(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + ASK)
        answer = served.hear(b"malformed Host")
        served.until(lambda: served.state is State.LINGERING)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert served.host.names() == ["refused"]
        assert not served.connection.buffer
        served.client.shutdown(socket.SHUT_WR)
        served.reach(State.CLOSED)
        assert served.host.reasons() == [EndReason.COMPLETED]


def test_the_answer_to_a_refused_head_request_has_no_content() -> None:
    with serving() as served:
        served.say(b"HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n")
        answer = served.hear(b"\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n")
        assert b"content-length: 15\r\n" in answer


def test_a_client_that_never_closes_is_left_after_a_while() -> None:
    with serving() as served:
        served.say(b"?\r\n")
        served.reach(State.LINGERING)
        served.too_late()
        assert served.host.reasons() == [EndReason.COMPLETED]


def cut(served: Served) -> None:
    served.connection.cut(EndReason.DRAINED)


def close(served: Served) -> None:
    served.connection.close(EndReason.DRAINED)


def refuse(served: Served) -> None:
    served.connection._refuse(ClientError(408, "too slow"))


@pytest.mark.parametrize("end", [cut, close, refuse])
def test_whatever_ends_the_connection_the_application_hears_of_it(end: Callable[[Served], None]) -> None:
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        heard.append((await receive())["type"])

    with serving(app) as served:
        served.say(ASK)
        served.reach(State.RUNNING)
        with served.host.turn:
            end(served)
        served.until(lambda: heard)
    assert heard == ["http.disconnect"]


def test_a_response_that_was_begun_is_cut_not_answered_anew() -> None:
    with serving(streams) as served:
        served.say(ASK)
        served.hear(b"part")
        with served.host.turn:
            served.connection._refuse(ClientError(408, "too slow"))
        assert served.state is State.CLOSED
        assert served.host.names().count("finished") == 1
        assert b"too slow" not in served.read()


def test_the_host_hears_of_the_end_once() -> None:
    with serving(waits) as served:
        served.say(ASK)
        served.reach(State.RUNNING)
        with served.host.turn:
            served.connection.cut(EndReason.DRAINED)
            served.connection.close(EndReason.CLIENT_GONE)
            served.connection.abort(EndReason.CLIENT_GONE)
        assert served.host.reasons() == [EndReason.DRAINED]


def test_an_answer_to_a_client_that_is_gone_just_closes() -> None:
    with serving(started=False) as served:
        served.client.close()
        with served.host.turn:
            served.connection.answer_unavailable()
        assert served.host.reasons() == [EndReason.CLIENT_GONE]


def test_a_server_s_own_answer_says_when_to_come_again() -> None:
    with serving(started=False) as served:
        with served.host.turn:
            served.connection.answer_unavailable()
        assert b"retry-after: 1\r\n" in served.hear(b"Service Unavailable\n")


def test_a_write_that_fails_later_ends_the_connection() -> None:
    with serving(waits) as served:
        served.say(ASK)
        served.reach(State.RUNNING)
        with served.host.turn:
            served.connection._on_broken()
        assert served.host.reasons() == [EndReason.CLIENT_GONE]
