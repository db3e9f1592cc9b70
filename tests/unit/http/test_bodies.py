"""Bodies that fill what there is room for, and those that take long to read: what comes after them is not lost."""

import asyncio

import pytest

from hsrv.common.asgi import Receive, Scope, Send
from hsrv.http.states import State
from tests.unit.http.fakehost import serving

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ASK = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
TINY = b"1\r\nx\r\n"


async def ignores(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_the_request_after_a_body_in_many_chunks_that_nobody_read_is_answered() -> None:
    with serving(ignores) as served:
        served.say(CHUNKED + TINY * 1000 + b"0\r\n\r\n" + ASK)
        assert served.hear(b"/next").count(b"200 OK") == 2
        assert served.state is State.IDLE


@pytest.mark.parametrize("tiny", range(60, 68))
def test_a_full_buffer_is_no_reason_to_try_again_and_again(tiny: int) -> None:
    """The decoder may pause with the very line after which there is no more room."""
    large, enough = 1024 - tiny, asyncio.Event()

    async def reads_nothing(scope: Scope, receive: Receive, send: Send) -> None:
        await enough.wait()

    with serving(reads_nothing, body_buffer=1024) as served:
        served.say(CHUNKED + b"%x\r\n%b\r\n" % (large, bytes(large)) + TINY * 100)
        served.until(lambda: served.connection.exchange and len(served.connection.exchange.body) == 1024)
        served.until(lambda: not served.host.backlog.waiting)
        enough.set()


def test_that_a_client_has_left_is_seen_after_a_body_that_filled_the_buffer() -> None:
    heard: list[str] = []

    async def reads_and_waits(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        heard.append("all")
        heard.append((await receive())["type"])

    with serving(reads_and_waits, body_buffer=1024) as served:
        served.host.answers_half_closed = False
        served.say(HEAD + b"Content-Length: 2048\r\n\r\n" + bytes(1024))
        served.until(lambda: served.connection.exchange is not None)
        served.say(bytes(1024))
        served.until(lambda: heard)
        served.client.close()
        served.until(lambda: heard == ["all", "http.disconnect"])
