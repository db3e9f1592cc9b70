"""The application's receive() and send(), where they wait."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hsrv.common.asgi import Message, Receive, Scope, Send
from hsrv.common.errors import AppError, ClientDisconnected
from hsrv.common.terms import EndReason
from hsrv.http.states import State
from tests.unit.http.fakehost import serving

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}
BLOCK = {"type": "http.response.body", "body": bytes(1 << 20), "more_body": True}
LAST = {"type": "http.response.body"}


class Kept:
    """What an application has kept of its call."""

    receive: Callable[[], Awaitable[Message]]
    send: Callable[[Message], Awaitable[None]]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.receive, self.send = receive, send
        await receive()
        await send(START)
        await send(LAST)


def test_once_the_application_has_returned_what_it_kept_is_dead() -> None:
    kept = Kept()
    with serving(kept.app) as served:
        served.say(ASK)
        served.until(lambda: served.connection.served)
        run = served.loop.run_until_complete
        assert run(_of(kept.receive())) == {"type": "http.disconnect"}
        run(_of(kept.send(LAST)))
        with pytest.raises(ClientDisconnected):
            run(_of(kept.send(BLOCK)))


async def _of(awaitable: Awaitable[Message | None]) -> Message | None:
    return await awaitable


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_application_that_exits_ends_its_request_alone(error: BaseException) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with serving(app) as served:
        served.say(ASK)
        assert served.hear(b"\r\n\r\n").startswith(b"HTTP/1.1 500 ")
        [raised] = [what for name, what in served.host.told if name == "report_app_error"]
        assert isinstance(raised, AppError)
        assert raised.__cause__ is error


def test_an_application_that_waits_for_its_client_takes_no_place_meanwhile() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        await send(BLOCK)
        await send(LAST)

    with serving(app) as served:
        served.say(POST)
        served.until(lambda: "held_up" in served.host.names())
        assert "goes_on" not in served.host.names()
        served.say(b"0\r\n\r\n")
        served.until(lambda: served.host.names().count("held_up") == 2)  # now it waits to be read
        assert served.host.names().count("goes_on") == 1
        served.hear(b"0\r\n\r\n")
        assert served.host.names().count("goes_on") == 2


def test_a_receive_that_is_cancelled_takes_nothing_from_the_next() -> None:
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        got.append(await receive())

    with serving(app) as served:
        served.say(POST)
        served.reach(State.RUNNING)
        served.say(b"2\r\nok\r\n0\r\n\r\n")
        served.until(lambda: got)
        assert got[0]["body"] == b"ok"


def test_a_client_that_leaves_ends_a_send_that_waits() -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send({**BLOCK, "body": bytes(1 << 24)})
        except OSError as error:
            raised.append(error)

    with serving(app) as served:
        served.say(ASK)
        served.until(lambda: "held_up" in served.host.names())
        with served.host.turn:
            served.connection.cut(EndReason.DRAINED)
        served.until(lambda: raised)
        assert isinstance(raised[0], ClientDisconnected)
