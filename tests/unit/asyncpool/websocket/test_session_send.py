"""What an application sends, and when it may."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from wsproto.events import CloseConnection

from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.errors import AppError, ClientDisconnected
from hsrv.common.terms import EndReason
from tests.unit.asyncpool.websocket.applications import ACCEPT, Recorder
from tests.unit.asyncpool.websocket.peer import Peer, on_loop

# send()


@on_loop
async def test_the_application_closes_with_code_and_reason_and_sees_its_own_disconnect() -> None:
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4000, "reason": "ü" * 61})
        await receive()
        received.append(await receive())
        with pytest.raises(AppError, match="ended"):
            await send({"type": "websocket.close"})

    peer = Peer(app)
    await peer.head()
    assert await peer.event() == CloseConnection(code=4000, reason="ü" * 61)
    await peer.send(CloseConnection(code=1000))
    assert await peer.ended() == (EndReason.COMPLETED, 4000)
    assert received == [{"type": "websocket.disconnect", "code": 4000, "reason": "ü" * 61}]


@on_loop
async def test_messages_that_come_after_the_application_closed_are_dropped() -> None:
    received: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.close"})
        while not received or received[-1]["type"] == "websocket.receive":
            received.append(await receive())

    peer = Peer(app, early=b"\x81\x81mask\x0c")
    await peer.head()
    assert await peer.event() == CloseConnection(code=1000, reason="")
    await peer.send_bytes(b"\x81\x84mask\x01\x00\x07\x0e")  # "late"
    await peer.send(CloseConnection(code=1000))
    assert await peer.response() == b""
    await peer.ended()
    assert [message["type"] for message in received] == ["websocket.disconnect"]


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ([], {"type": "websocket.send", "text": "a"}),
        ([], {"type": "websocket.accept", "subprotocol": "c"}),
        ([], {"type": "websocket.accept", "headers": [(b"a", b"b\r\n")]}),
        ([], {"type": "websocket.http.response.body"}),
        ([], {"type": "http.response.start", "status": 200}),
        ([ACCEPT], ACCEPT),
        ([ACCEPT], {"type": "websocket.send"}),
        ([ACCEPT], {"type": "websocket.send", "text": b"a"}),
        ([ACCEPT], {"type": "websocket.send", "bytes": "a"}),
        ([ACCEPT], {"type": "websocket.send", "text": "a", "bytes": b"a"}),
        ([ACCEPT], {"type": "websocket.close", "code": 1005}),
        ([ACCEPT], {"type": "websocket.close", "code": 1000, "reason": "ü" * 62}),
        ([ACCEPT], {"type": "websocket.http.response.start", "status": 200}),
    ],
)
def test_a_message_out_of_turn_raises_in_the_application_and_changes_nothing(
    before: list[dict[str, Any]], wrong: dict[str, Any]
) -> None:
    @on_loop
    async def test() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            for message in before:
                await send(message)
            with pytest.raises(AppError):
                await send(wrong)
            if not before:
                await send(ACCEPT)
            await send({"type": "websocket.close", "code": 4000})

        peer = Peer(app)
        await peer.head()
        assert await peer.event() == CloseConnection(code=4000, reason="")
        assert await peer.ended() == (EndReason.COMPLETED, 4000)

    test("asyncio")


@on_loop
async def test_sending_after_the_client_closed_raises_client_disconnected() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Recorder()(scope, receive, send)
        for _ in range(2):
            with pytest.raises(ClientDisconnected):
                await send({"type": "websocket.send", "text": "a"})
            await send({"type": "websocket.close"})  # there is nothing left to close

    with capture_logs() as logs:
        peer = Peer(app)
        await peer.head()
        await peer.send(CloseConnection(code=1000))
        await peer.ended()
    assert logs == []


@on_loop
async def test_sending_until_the_client_is_found_gone_is_no_error_of_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        while True:
            await send({"type": "websocket.send", "bytes": bytes(10_000)})

    with capture_logs() as logs:
        peer = Peer(app)
        await peer.head()
        assert await peer.ended() == (EndReason.CLIENT_GONE, 1006)
    assert logs == []


@on_loop
async def test_a_client_that_vanishes_is_1006() -> None:
    app = Recorder()
    peer = Peer(app)
    await peer.head()
    assert await peer.ended() == (EndReason.CLIENT_GONE, 1006)
    assert app.received[1:] == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


@on_loop
async def test_a_client_that_vanishes_before_the_answer_is_1006() -> None:
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([await receive(), await receive()])
        with pytest.raises(ClientDisconnected):
            await send(ACCEPT)

    peer = Peer(app)
    assert await peer.ended() == (EndReason.CLIENT_GONE, 1006)
    assert [message["type"] for message in received] == ["websocket.connect", "websocket.disconnect"]
    assert peer.session.status == 0
