"""The connection's side of a WebSocket: flow control, pings, limits, the end."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from hsrv.asyncpool.websocket.inbox import INBOX_BYTES, INBOX_MESSAGES
from hsrv.asyncpool.websocket.settings import EARLY_LIMIT
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.errors import ClientDisconnected
from hsrv.common.terms import EndReason
from tests.unit.asyncpool.websocket.peer import Peer, on_loop, tcp_pair, until

ACCEPT: dict[str, Any] = {"type": "websocket.accept"}
LATE_MESSAGE = b"\x81\x84mask\x01\x00\x07\x0e"
"""Of a client that had not read our close frame when it sent this."""

LATER = 1000.0
"""Seconds; beyond every timeout."""


class Slow:
    """An application that accepts, and receives only from `go_on` on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.received: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await self.go_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            self.received.append(message.get("text", message.get("bytes")))
        self.received.append(message)


def disconnect(code: int, reason: str = "") -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


# flow control


@on_loop
async def test_a_client_is_held_back_while_the_application_takes_nothing() -> None:
    app = Slow()
    peer = Peer(app)
    await peer.head()
    size = 60_000
    data = peer.frames.send(TextMessage(data="x" * size))
    sent = await peer.fill(data, limit=200)
    assert not peer.conn.reading
    assert sent >= INBOX_BYTES // size
    app.go_on.set()
    await until(lambda: len(app.received) >= sent)
    assert set(app.received) == {"x" * size}
    await peer.ended()


@on_loop
async def test_small_messages_wait_in_the_codec_once_the_inbox_is_full_and_keep_their_order() -> None:
    app = Slow()
    peer = Peer(app)
    await peer.head()
    count = 10 * INBOX_MESSAGES
    await peer.send(*(TextMessage(data=str(number)) for number in range(count)))
    await until(lambda: not peer.conn.reading)
    app.go_on.set()
    await peer.send(CloseConnection(code=1000))
    await peer.ended()
    assert app.received == [*map(str, range(count)), disconnect(1000)]


@on_loop
async def test_early_frames_are_read_only_up_to_a_limit_before_the_accept() -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await Slow.__call__(slow, scope, receive, send)

    slow = Slow()
    slow.go_on.set()
    peer = Peer(app)
    data = peer.frames.send(TextMessage(data="x" * 10_000))
    sent = await peer.fill(data, limit=100)
    assert sent >= EARLY_LIMIT // 10_010
    assert not peer.conn.reading
    go_on.set()
    await peer.head()
    await until(lambda: len(slow.received) >= sent)
    await peer.ended()


@on_loop
async def test_pings_are_answered_while_the_application_takes_nothing() -> None:
    peer = Peer(Slow())
    await peer.head()
    await peer.send(TextMessage(data="a"), Ping(payload=b"p"))
    assert await peer.event() == Pong(payload=b"p")
    peer.session.abort()
    await peer.over()


@on_loop
async def test_send_waits_for_a_client_that_reads_nothing() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(ACCEPT)
        for _ in range(200):
            await send({"type": "websocket.send", "bytes": bytes(50_000)})
            sent += 1

    peer = Peer(app)
    await peer.head()
    await until(lambda: peer.conn.pending_bytes > 0)
    await peer.turns()
    held_at = sent
    assert held_at < 100
    await peer.turns()
    assert sent == held_at
    while sent < 200:
        assert await peer.loop.sock_recv(peer.sock, 1 << 20)
    await peer.ended()


@on_loop
async def test_of_pings_from_a_client_that_does_not_read_the_last_is_answered() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "bytes": bytes(1_000_000)})
        await receive()
        await receive()

    peer = Peer(app)
    await peer.head()
    await until(lambda: peer.conn.pending_bytes > 0)
    waiting = peer.conn.pending_bytes
    for number in range(1000):
        await peer.send(Ping(payload=b"%d" % number))
    await peer.turns()
    assert peer.conn.pending_bytes == waiting
    while not isinstance(event := await peer.event(), Pong):
        pass
    assert event.payload == b"999"
    await peer.ended()


@on_loop
async def test_a_client_that_takes_nothing_is_cut_after_the_send_timeout() -> None:
    outcome = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.send", "bytes": bytes(1_000_000)})
        outcome.append(await receive())

    peer = Peer(app, send_timeout=30)
    await peer.head()
    await until(lambda: peer.conn.pending_bytes > 0)
    peer.session.check_deadlines(peer.conn.progress_at + 29)
    assert peer.connected()
    peer.session.check_deadlines(peer.conn.progress_at + 31)
    assert await peer.over() == (EndReason.SEND_TIMEOUT, 1006)
    assert outcome == [disconnect(1006)]


# pings


@on_loop
async def test_a_ping_is_sent_each_interval_and_its_pong_keeps_the_connection() -> None:
    peer = Peer(Slow(), ping_interval=20, ping_timeout=10)
    await peer.head()
    now = peer.loop.time()
    peer.session.check_deadlines(now + 10)
    for turn in range(1, 4):
        peer.session.check_deadlines(now + turn * 25)
        ping = await peer.event()
        assert ping == Ping(payload=turn.to_bytes(4, "big"))
        assert isinstance(ping, Ping)
        await peer.send(ping.response())
        await peer.turns()
        peer.session.check_deadlines(now + turn * 25 + 15)
    assert peer.connected()
    peer.session.abort()
    await peer.over()


@pytest.mark.parametrize("answer", [None, Pong(payload=b"other")])
def test_a_ping_without_its_pong_ends_the_connection(answer: Pong | None) -> None:
    @on_loop
    async def test() -> None:
        app = Slow()
        app.go_on.set()
        peer = Peer(app, ping_interval=20, ping_timeout=10)
        await peer.head()
        now = peer.loop.time() + 25
        peer.session.check_deadlines(now)
        await peer.event()
        if answer is not None:
            await peer.send(answer)
            await peer.turns()
        peer.session.check_deadlines(now + 9)
        assert peer.connected()
        peer.session.check_deadlines(now + 10)
        assert await peer.event() == CloseConnection(code=1011, reason="ping timeout")
        assert await peer.over() == (EndReason.PING_TIMEOUT, 1011)
        assert app.received == [disconnect(1011, "ping timeout")]

    test("asyncio")


@on_loop
async def test_a_pong_that_waits_behind_untaken_messages_is_not_missed() -> None:
    app = Slow()
    peer = Peer(app, ping_interval=20, ping_timeout=10)
    await peer.head()
    now = peer.loop.time() + 25
    peer.session.check_deadlines(now)
    ping = await peer.event()
    assert isinstance(ping, Ping)
    await peer.send(*(TextMessage(data="a") for _ in range(INBOX_MESSAGES)), ping.response())
    await peer.turns()
    assert not peer.conn.reading
    peer.session.check_deadlines(now + 60)
    assert peer.connected()
    app.go_on.set()
    await peer.turns()
    peer.session.check_deadlines(now + 75)
    assert peer.connected()
    peer.session.abort()
    await peer.over()


@on_loop
async def test_without_a_ping_timeout_pings_go_on_unanswered() -> None:
    peer = Peer(Slow(), ping_interval=20, ping_timeout=0)
    await peer.head()
    now = peer.loop.time()
    for turn in range(1, 4):
        peer.session.check_deadlines(now + turn * 25)
        assert isinstance(await peer.event(), Ping)
    peer.session.abort()
    await peer.over()


@on_loop
async def test_without_a_ping_interval_there_are_no_pings() -> None:
    peer = Peer(Slow(), ping_interval=0, ping_timeout=10)
    await peer.head()
    peer.session.check_deadlines(peer.loop.time() + LATER)
    peer.session.shutdown()
    assert await peer.event() == CloseConnection(code=1012, reason="")
    peer.session.abort()
    await peer.over()


# what breaks the protocol


@pytest.mark.parametrize(
    ("frames", "code", "reason"),
    [
        (b"\x81\x81mask\x92", 1007, "invalid data"),
        (b"\x82\xfe\x04\x00mask", 1009, "message too big"),
        (b"\x81\x01a", 1002, "protocol error"),
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_and_ended(frames: bytes, code: int, reason: str) -> None:
    @on_loop
    async def test() -> None:
        app = Slow()
        app.go_on.set()
        with capture_logs() as logs:
            peer = Peer(app, max_message=1000)
            await peer.head()
            await peer.send_bytes(b"\x81\x80mask" + frames + b"\x81\x80mask")
            assert await peer.event() == CloseConnection(code=code, reason=reason)
            await peer.send_bytes(b"\x81\x80mask")
            assert await peer.response() == b""
            assert await peer.ended() == (EndReason.PROTOCOL_ERROR, code)
        assert app.received == ["", disconnect(code, reason)]
        assert [(entry["event"], entry["code"]) for entry in logs] == [("websocket protocol error", code)]

    test("asyncio")


# the end


class Unanswered:
    """An application that thinks about the upgrade until it is gone."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.received.append(await receive())
        self.received.append(await receive())


@on_loop
async def test_a_shutdown_closes_with_1012_both_ways() -> None:
    app = Slow()
    app.go_on.set()
    peer = Peer(app)
    await peer.head()
    await peer.turns()
    peer.session.shutdown(1012, "service restart")
    peer.session.shutdown(1012, "service restart")
    assert await peer.event() == CloseConnection(code=1012, reason="service restart")
    await peer.send_bytes(LATE_MESSAGE)
    await peer.send(CloseConnection(code=1012))
    assert await peer.response() == b""
    assert await peer.ended() == (EndReason.DRAINED, 1012)
    assert app.received == [disconnect(1012, "service restart")]


@on_loop
async def test_an_upgrade_that_is_not_answered_yet_is_refused_at_a_shutdown() -> None:
    app = Unanswered()
    peer = Peer(app)
    await until(lambda: app.received != [])
    peer.session.shutdown(1012, "service restart")
    assert (await peer.head()).startswith(b"HTTP/1.1 503 ")
    await peer.response()
    await peer.ended()
    assert app.received == [{"type": "websocket.connect"}, disconnect(1012, "service restart")]


@on_loop
async def test_after_a_shutdown_the_application_can_send_nothing() -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await go_on.wait()
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.send", "text": "late"})

    with capture_logs() as logs:
        peer = Peer(app)
        await peer.head()
        peer.session.shutdown()
        go_on.set()
        assert await peer.event() == CloseConnection(code=1012, reason="")
        assert await peer.ended() == (EndReason.DRAINED, 1012)
    assert logs == []


@on_loop
async def test_a_client_that_does_not_answer_the_close_frame_is_waited_for_only_so_long() -> None:
    peer = Peer(Slow(), close_timeout=5)
    await peer.head()
    now = peer.loop.time()
    peer.session.shutdown()
    peer.session.check_deadlines(now + 4)
    assert peer.connected()
    peer.session.check_deadlines(now + 6)
    assert not peer.connected()
    peer.session.abort()
    assert await peer.over() == (EndReason.DRAINED, 1012)


@on_loop
async def test_a_client_that_does_not_hang_up_is_waited_for_only_so_long() -> None:
    peer = Peer(Slow(), close_timeout=5)
    await peer.head()
    await peer.send(CloseConnection(code=1000))
    assert await peer.event() == CloseConnection(code=1000, reason="")
    assert await peer.response() == b""
    now = peer.loop.time()
    peer.session.check_deadlines(now + 4)
    assert peer.connected()
    peer.session.check_deadlines(now + 6)
    assert not peer.connected()
    peer.session.abort()
    assert await peer.over() == (EndReason.COMPLETED, 1000)


@on_loop
async def test_a_close_frame_is_found_behind_messages_that_nobody_took() -> None:
    peer = Peer(Slow())
    await peer.head()
    await peer.send(*(TextMessage(data="a") for _ in range(3 * INBOX_MESSAGES)))
    await peer.turns()
    assert not peer.conn.reading
    await peer.send(CloseConnection(code=1000))
    peer.session.shutdown()
    assert await peer.event() == CloseConnection(code=1012, reason="")
    assert await peer.response() == b""
    peer.session.abort()
    assert await peer.over() == (EndReason.DRAINED, 1012)


@on_loop
async def test_a_shutdown_before_the_answer_is_503() -> None:
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([await receive(), await receive()])

    peer = Peer(app)
    await peer.turns()
    peer.session.shutdown()
    assert (await peer.response()).startswith(b"HTTP/1.1 503 ")
    assert await peer.ended() == (EndReason.DRAINED, 1012)
    assert received[1:] == [disconnect(1012)]


@on_loop
async def test_the_close_frame_arrives_although_the_client_is_still_sending() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4000})

    peer = Peer(app, pair=tcp_pair())
    await peer.head()
    await until(lambda: peer.conn.reading)
    await peer.send_bytes(b"\xff" * 300_000)  # nonsense: the server fails the connection, then lingers
    assert await peer.event() == CloseConnection(code=4000, reason="")
    assert await peer.response() == b""
    assert await peer.ended() == (EndReason.COMPLETED, 4000)


@on_loop
async def test_what_waits_to_be_written_is_flushed_before_the_end() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": bytes(1_000_000)}))
        await asyncio.sleep(0)
        await send({"type": "websocket.close"})
        await sending

    peer = Peer(app)
    await peer.head()
    await peer.send(CloseConnection(code=1000))
    await peer.turns()
    peer.session.check_deadlines(peer.loop.time() + 6)
    data = await peer.response()
    assert len(data) > 1_000_000 - 70_000
    assert data.endswith(b"\x88\x02\x03\xe8")
    await peer.ended()


@on_loop
async def test_a_client_that_only_stopped_sending_still_gets_what_waits() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        with suppress(ClientDisconnected):
            await send({"type": "websocket.send", "bytes": bytes(1_000_000)})

    peer = Peer(app)
    await peer.head()
    await until(lambda: peer.conn.pending_bytes > 0)
    await peer.send(CloseConnection(code=1000))
    peer.sock.shutdown(socket.SHUT_WR)
    await peer.turns()
    assert (await peer.response()).endswith(b"\x88\x02\x03\xe8")
    assert await peer.ended() == (EndReason.COMPLETED, 1000)


@on_loop
async def test_the_close_frame_is_awaited_from_when_the_client_has_taken_what_came_before() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "bytes": bytes(1_000_000)})

    peer = Peer(app, close_timeout=5)
    await peer.head()
    await until(lambda: peer.conn.pending_bytes > 0)
    peer.session.shutdown()
    now = peer.loop.time()
    peer.session.check_deadlines(now + 6)
    while not isinstance(await peer.event(), CloseConnection):
        pass
    peer.session.check_deadlines(now + 10)
    assert peer.connected()
    peer.session.check_deadlines(now + 12)
    assert not peer.connected()
    assert await peer.over() == (EndReason.DRAINED, 1012)


@on_loop
async def test_a_client_that_vanishes_while_nothing_is_read_is_found_by_writing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "bytes": bytes(1_000_000)})

    peer = Peer(app)
    await peer.head()
    await peer.send(*(TextMessage(data="a") for _ in range(INBOX_MESSAGES)))
    await until(lambda: not peer.conn.reading)
    assert await peer.ended() == (EndReason.CLIENT_GONE, 1006)
