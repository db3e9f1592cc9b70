"""The application's side of a WebSocket: what it receives, what its sends do, what its end does."""

import asyncio
import contextvars

import pytest
from structlog.testing import capture_logs
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from hsrv.asyncpool.websocket.settings import HANDSHAKE_TIMEOUT
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.terms import EndReason
from hsrv.logs.logging import current_trace
from tests.unit.asyncpool.websocket.applications import ACCEPT, FOR_EVER, Recorder, collect, echo
from tests.unit.asyncpool.websocket.peer import DEFAULTS, Peer, on_loop, tcp_pair, until

# the answer


@on_loop
async def test_messages_go_both_ways_and_the_close_frame_comes_back() -> None:
    peer = Peer(echo)
    assert (await peer.head()).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    await peer.send(TextMessage(data="grüße"), BytesMessage(data=b"\x00"))
    assert await collect(peer) == "grüße"
    assert await collect(peer) == b"\x00"
    await peer.send(Ping(payload=b"p"))
    assert await peer.event() == Pong(payload=b"p")
    await peer.send(CloseConnection(code=4001, reason="bye"))
    assert await peer.event() == CloseConnection(code=4001, reason="")
    assert await peer.response() == b""
    assert await peer.ended() == (EndReason.COMPLETED, 4001)
    assert peer.session.status == 101


@on_loop
async def test_the_application_receives_connect_then_messages_then_the_disconnect_for_ever() -> None:
    again = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        recorder = Recorder()
        await recorder(scope, receive, send)
        again.extend([*recorder.received, await receive()])

    peer = Peer(app)
    await peer.head()
    await peer.send(
        TextMessage(data="a", message_finished=False),
        TextMessage(data="b"),
        BytesMessage(data=b"c"),
        CloseConnection(code=1001, reason="bye"),
    )
    assert await peer.ended() == (EndReason.COMPLETED, 1001)
    disconnect = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}
    assert again == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "ab"},
        {"type": "websocket.receive", "bytes": b"c"},
        disconnect,
        disconnect,
    ]


@on_loop
async def test_a_close_frame_without_code_is_1005_and_is_answered_without_code() -> None:
    app = Recorder()
    peer = Peer(app)
    await peer.head()
    await peer.send_bytes(b"\x88\x80mask")
    assert await peer.response() == b"\x88\x00"
    assert await peer.ended() == (EndReason.COMPLETED, 1005)
    assert app.received[-1] == {"type": "websocket.disconnect", "code": 1005, "reason": ""}


@pytest.mark.parametrize("where", ["in the handoff", "in the socket"])
def test_early_frames_are_received_after_the_accept(where: str) -> None:
    @on_loop
    async def test() -> None:
        app = Recorder()
        early = b"\x81\x81mask\x0c" + b"\x88\x80mask"  # "a", then a close frame
        peer = Peer(app, early=early if where == "in the handoff" else early[:3])
        if where == "in the socket":
            await peer.send_bytes(early[3:])
        await peer.head()
        assert await peer.ended() == (EndReason.COMPLETED, 1005)
        assert app.received[1] == {"type": "websocket.receive", "text": "a"}

    test("asyncio")


@on_loop
async def test_subprotocol_and_headers_of_the_accept_reach_the_client() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**ACCEPT, "subprotocol": "b", "headers": [(b"x-a", b"1")]})

    peer = Peer(app, subprotocols=("a", "b"))
    lines = (await peer.head()).split(b"\r\n")
    assert b"sec-websocket-protocol: b" in lines
    assert b"x-a: 1" in lines
    await peer.ended()


@on_loop
async def test_compressed_messages_go_both_ways() -> None:
    peer = Peer(echo, headers=[(b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")])
    assert b"permessage-deflate" in await peer.head()
    for _ in range(3):
        await peer.send(TextMessage(data="hello " * 5000))
        assert await collect(peer) == "hello " * 5000
    await peer.ended()


@on_loop
async def test_compression_is_not_agreed_on_when_it_is_off() -> None:
    offer = [(b"sec-websocket-extensions", b"permessage-deflate")]
    peer = Peer(echo, headers=offer, per_message_deflate=False)
    assert b"extensions" not in await peer.head()
    await peer.ended()


@on_loop
async def test_a_close_before_the_accept_is_403() -> None:
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})
        received.append(await receive())

    peer = Peer(app)
    response = await peer.response()
    assert response.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert DEFAULTS in response
    assert await peer.ended() == (EndReason.COMPLETED, 1006)
    assert peer.session.status == 403
    assert received == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


@on_loop
async def test_a_denial_response_is_streamed_and_ends_the_connection() -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-why", b"because")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"first", "more_body": True})
        await go_on.wait()
        await send({"type": "websocket.http.response.body", "body": b"second"})

    peer = Peer(app)
    head = await peer.head()
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"x-why: because" in head
    assert b"connection: close" in head.lower()
    go_on.set()
    assert (await peer.response()).endswith(b"second\r\n0\r\n\r\n")
    assert await peer.ended() == (EndReason.COMPLETED, 1006)
    assert peer.session.status == 401


@on_loop
async def test_a_denial_response_that_is_not_completed_never_looks_complete() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"first", "more_body": True})

    with capture_logs() as logs:
        peer = Peer(app)
        response = await peer.response()
    assert b"first" in response
    assert not response.endswith(b"0\r\n\r\n")
    assert await peer.ended() == (EndReason.APP_ERROR, 1006)
    assert [entry["event"] for entry in logs] == ["application returned without answering the handshake"]


@on_loop
async def test_a_denial_response_that_is_not_completed_is_reset() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"first", "more_body": True})
        raise ValueError("mine")

    with capture_logs() as logs:
        peer = Peer(app, pair=tcp_pair())
        with pytest.raises(ConnectionResetError):
            await peer.response()
    assert await peer.ended() == (EndReason.APP_ERROR, 1006)
    assert [entry["event"] for entry in logs] == ["application raised"]


@on_loop
async def test_an_application_that_does_not_answer_the_upgrade_has_a_time_for_it() -> None:
    cancelled = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            cancelled.append(await receive())
            raise

    peer = Peer(app)
    await peer.turns()
    with capture_logs() as logs:
        peer.session.check_deadlines(peer.session.started_at + HANDSHAKE_TIMEOUT - 1)
        await peer.turns()
        assert not cancelled
        assert peer.session.unanswered
        for late in range(3):
            peer.session.check_deadlines(peer.session.started_at + HANDSHAKE_TIMEOUT + late)
            await peer.turns()
    assert (await peer.response()).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert await peer.ended() == (EndReason.REQUEST_TIMEOUT, 1006)
    assert cancelled == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert [entry["event"] for entry in logs] == ["application takes too long to answer the handshake"]
    assert "in test_an_application_that_does_not_answer" in logs[0]["stacks"]


@on_loop
async def test_a_denial_that_does_not_end_is_cut_in_the_time_of_an_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
        await asyncio.sleep(FOR_EVER)

    peer = Peer(app)
    await peer.turns()
    with capture_logs():
        peer.session.check_deadlines(peer.session.started_at + HANDSHAKE_TIMEOUT)
    assert await peer.over() == (EndReason.REQUEST_TIMEOUT, 1006)


@on_loop
async def test_an_answered_upgrade_has_no_such_time() -> None:
    peer = Peer(echo)
    await peer.head()
    peer.session.check_deadlines(peer.session.started_at + HANDSHAKE_TIMEOUT)
    assert peer.connected()
    await peer.ended()


# the end of the application


@on_loop
async def test_an_application_that_raises_before_the_accept_is_500_and_logged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("mine")

    with capture_logs() as logs:
        peer = Peer(app)
        assert (await peer.response()).startswith(b"HTTP/1.1 500 ")
        assert await peer.ended() == (EndReason.APP_ERROR, 1006)
    assert [(entry["event"], str(entry["exc_info"])) for entry in logs] == [("application raised", "mine")]


@on_loop
async def test_an_application_that_returns_without_an_answer_is_500_and_logged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    with capture_logs() as logs:
        peer = Peer(app)
        assert (await peer.response()).startswith(b"HTTP/1.1 500 ")
        assert await peer.ended() == (EndReason.APP_ERROR, 1006)
    assert [entry["event"] for entry in logs] == ["application returned without answering the handshake"]


@on_loop
async def test_an_application_that_raises_after_the_accept_is_1011_and_logged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        raise ValueError("mine")

    with capture_logs() as logs:
        peer = Peer(app)
        await peer.head()
        assert await peer.event() == CloseConnection(code=1011, reason="")
        assert await peer.ended() == (EndReason.APP_ERROR, 1011)
    assert [(entry["event"], str(entry["exc_info"])) for entry in logs] == [("application raised", "mine")]


@on_loop
async def test_an_application_that_returns_without_closing_is_1000() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)

    peer = Peer(app)
    await peer.head()
    assert await peer.event() == CloseConnection(code=1000, reason="")
    await peer.send(CloseConnection(code=1000))
    assert await peer.response() == b""
    assert await peer.ended() == (EndReason.COMPLETED, 1000)


@on_loop
async def test_an_application_that_cancels_itself_is_1011_and_logged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        raise asyncio.CancelledError

    with capture_logs() as logs:
        peer = Peer(app)
        await peer.head()
        assert await peer.event() == CloseConnection(code=1011, reason="")
        assert await peer.ended() == (EndReason.APP_ERROR, 1011)
    assert [entry["event"] for entry in logs] == ["application raised"]


@on_loop
async def test_the_session_is_over_only_when_the_application_has_returned() -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Recorder()(scope, receive, send)
        await go_on.wait()

    peer = Peer(app)
    await peer.head()
    peer.sock.close()
    await until(lambda: not peer.connected())
    await peer.turns()
    assert peer.ends == []
    go_on.set()
    assert await peer.ended() == (EndReason.CLIENT_GONE, 1006)


@on_loop
async def test_what_happens_while_reading_is_logged_under_the_name_of_the_request() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)

    peer = Peer(app)
    await peer.head()
    await peer.event()
    await peer.turns()
    await peer.ended()  # the application has returned, so it is the reader who finds the end
    assert peer.trace_at_end == peer.session.handoff.trace


# tasks


@on_loop
async def test_each_application_has_a_context_of_its_own_which_names_the_request() -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        trace = current_trace.get()
        seen.append((mark.get(), trace and trace.request_id))
        mark.set("changed")
        await send({"type": "websocket.close"})

    for _ in range(2):
        await Peer(app).ended()
    assert seen == [("none", "r-1"), ("none", "r-1")]
    assert mark.get() == "none"


@on_loop
async def test_a_receive_that_is_cancelled_takes_nothing_from_another() -> None:
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        waiting, cancelled = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        received.append(await waiting)

    peer = Peer(app)
    await peer.head()
    await peer.turns()
    await peer.send(TextMessage(data="a"))
    await peer.event()
    await peer.ended()
    assert received == [{"type": "websocket.receive", "text": "a"}]


@on_loop
async def test_an_abort_cancels_the_application() -> None:
    outcome = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            outcome.append("cancelled")
            raise

    with capture_logs() as logs:
        peer = Peer(app)
        await peer.head()
        peer.session.abort()
        assert await peer.over() == (EndReason.DRAINED, 1006)
    assert outcome == ["cancelled"]
    assert logs == []


@on_loop
async def test_an_application_that_never_has_to_wait_lets_others_have_their_turn() -> None:
    turns = 0
    during = []

    def count() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(count)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        before = turns
        for _ in range(1000):
            await receive()
        during.append(turns - before)

    loop = asyncio.get_running_loop()
    peer = Peer(app, early=b"\x81\x80mask" * 1000)
    loop.call_soon(count)
    await peer.head()
    await peer.ended()
    assert during[0] >= 10
