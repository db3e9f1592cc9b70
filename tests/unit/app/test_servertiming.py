"""Server-Timing around an application."""

import asyncio
import re
import time
from typing import Any

import pytest

from hsrv.app.servertiming import with_server_timing
from hsrv.common.asgi import Message, Receive, Scope, Send
from hsrv.ipc.messages import Trace
from hsrv.logs.logging import current_trace

METRICS = rb"queue;dur=(\d+\.\d{3}), app;dur=(\d+\.\d{3})"


def sent(start: dict[str, Any], kind: str = "http", waited: float = 0.0, took: float = 0.0) -> list[Message]:
    """What comes out when an application sends `start` and a body."""
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(took)
        await send(start)
        await send({"type": "http.response.body", "body": b"whole"})

    async def keep(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        raise AssertionError

    async def main() -> None:
        current_trace.set(Trace(request_id="r", received_at=time.monotonic() - waited if waited else 0.0))
        await with_server_timing(app)({"type": kind}, receive, keep)

    asyncio.run(main())
    return messages


def start(*headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": list(headers), **more}


def test_it_says_how_long_the_request_waited_and_the_application_took() -> None:
    first, body = sent(start((b"a", b"b")), waited=0.25, took=0.05)
    (kept, (name, value)) = first["headers"]
    assert (kept, name) == ((b"a", b"b"), b"server-timing")
    found = re.fullmatch(METRICS, value)
    assert found is not None, value
    assert 250 <= float(found[1]) < 5000
    assert 45 <= float(found[2]) < 5000
    assert body == {"type": "http.response.body", "body": b"whole"}


def test_the_metrics_of_the_application_stay_before_it() -> None:
    given = start((b"Server-Timing", b"db;dur=5"), (b"x", b"y"), (b"server-timing", b"cache"), trailers=True)
    first, _ = sent(given, waited=0.1)
    assert first["headers"][:2] == [(b"Server-Timing", b"db;dur=5"), (b"x", b"y")]
    assert re.fullmatch(rb"cache, " + METRICS, first["headers"][2][1])
    assert len(first["headers"]) == 3
    assert first["trailers"] is True
    assert given["headers"][2] == (b"server-timing", b"cache"), "the application's own list is untouched"


def test_one_without_metrics_and_a_request_without_a_time() -> None:
    first, _ = sent(start((b"server-timing", b"")))
    assert re.fullmatch(rb"app;dur=\d+\.\d{3}", first["headers"][0][1])
    first, _ = sent({"type": "http.response.start", "status": 200})
    assert [name for name, _ in first["headers"]] == [b"server-timing"]


@pytest.mark.parametrize(
    "headers", [None, 5, [(1, 2)], [b"ab"], [("server-timing", "x")], [(b"server-timing", None)]]
)
def test_malformed_headers_are_left_to_whoever_refuses_them(headers: Any) -> None:
    first, _ = sent({"type": "http.response.start", "status": 200, "headers": headers})
    found = first["headers"] if headers in (None, 5) else first["headers"][:-1]
    assert found == headers


def test_what_is_no_request_is_none_of_its_business() -> None:
    given = start()
    assert sent(given, kind="websocket")[0] is given
