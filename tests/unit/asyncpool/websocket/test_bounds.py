"""What a WebSocket client can make us hold, and do in one go, whichever codec reads it."""

import asyncio
import zlib
from typing import Any

import pytest
from structlog.testing import capture_logs
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from hsrv.asyncpool.websocket.awaited import PONGS
from hsrv.asyncpool.websocket.codecs.codec import CODECS, Codec, NewCodec, choose_codec
from hsrv.asyncpool.websocket.codecs.deflate import (
    INFLATE_RATIO,
    INFLATED_FREELY,
    STEP_IN,
    STEP_OUT,
    DeflateTerms,
)
from hsrv.asyncpool.websocket.codecs.events import FrameError, MessagePart, Received
from hsrv.asyncpool.websocket.memory import MessageMemory
from hsrv.asyncpool.websocket.settings import CROWD, FLOOD, FRAMES_PER_TURN
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.terms import EndReason
from tests.fuzz.frames import frame
from tests.unit.asyncpool.websocket.peer import Peer, on_loop, until

MIB = 1 << 20
ACCEPT: dict[str, Any] = {"type": "websocket.accept"}
DEFLATE = [(b"sec-websocket-extensions", b"permessage-deflate")]


def packed(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.fixture(params=sorted(CODECS))
def new(request: pytest.FixtureRequest) -> NewCodec:
    """Each of the codecs."""
    return choose_codec(request.param)


async def taker(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes what comes."""
    await receive()
    await send(ACCEPT)
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def sleeper(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes nothing."""
    await receive()
    await send(ACCEPT)
    await asyncio.Event().wait()


async def refused(peer: Peer) -> CloseConnection:
    """The close frame, behind whatever came before it."""
    while not isinstance(event := await peer.event(), CloseConnection):
        pass
    return event


# memory


def test_an_unfinished_text_is_held_as_the_bytes_that_came(new: NewCodec) -> None:
    codec = new(16 * MIB, None)
    codec.feed(frame(0x01, "\U0001f600".encode() + b"x" * 60_000))
    for _ in range(9):
        while codec.next_event() is not None:
            pass
        codec.feed(frame(0x00, b"x" * 60_000))
    while codec.next_event() is not None:
        pass
    assert codec.unfinished is not None
    assert 600_000 <= codec.held <= 610_000
    codec.feed(frame(0x80, b""))
    received = codec.next_event()
    assert isinstance(received, Received)
    assert received.size > 4 * 600_000  # as wide as its widest character
    assert (codec.held, codec.unfinished) == (0, None)


def test_a_message_that_waits_for_its_rest_is_the_same_object_until_it_is_complete(new: NewCodec) -> None:
    codec = new(MIB, None)
    seen = []
    for data in (frame(0x01, b"a"), frame(0x00, b"b"), frame(0x80, b"c"), frame(0x02, b"d")):
        codec.feed(data)
        while codec.next_event() is not None:
            pass
        seen.append(codec.unfinished)
    assert seen[0] is seen[1]
    assert seen[2] is None
    assert seen[3] not in (None, seen[0])


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_connection_that_ends_amid_a_message_holds_nothing(codec: str) -> None:
    @on_loop
    async def test() -> None:
        memory = MessageMemory(64 * MIB)
        peer = Peer(sleeper, memory=memory, codec=codec)
        await peer.head()
        await peer.send_bytes(frame(0x02, bytes(100_000)))
        await until(lambda: memory.used >= 100_000)
        peer.sock.close()
        await until(lambda: not peer.connected())
        assert memory.used == 0
        assert peer.session._link._codec is None
        assert not peer.session._link._early
        peer.session.abort()
        await peer.over()

    test("asyncio")


@on_loop
async def test_messages_that_nobody_takes_any_more_are_dropped_with_the_call() -> None:
    memory = MessageMemory(64 * MIB)
    leave = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await leave.wait()

    peer = Peer(app, memory=memory)
    await peer.head()
    await peer.send(BytesMessage(data=bytes(100_000)))
    await until(lambda: len(peer.session._link) == 1)
    peer.sock.close()
    await until(lambda: not peer.connected())
    assert memory.used == 100_000  # it was complete: the application may take it
    leave.set()
    await peer.over()
    assert memory.used == 0


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("first", [0x02, 0x82], ids=["unfinished", "waiting"])
def test_beyond_the_memory_of_the_pool_the_one_that_holds_most_ends_with_1013(codec: str, first: int) -> None:
    @on_loop
    async def test() -> None:
        memory = MessageMemory(MIB)
        large = Peer(sleeper, memory=memory, codec=codec)
        small = Peer(sleeper, memory=memory, codec=codec)
        await large.head()
        await small.head()
        await large.send_bytes(frame(first, bytes(700_000)))
        await until(lambda: memory.used >= 700_000)
        await small.send_bytes(frame(0x02, bytes(500_000)))
        assert await refused(large) == CloseConnection(code=1013, reason="too much memory in use")
        await until(lambda: memory.used >= 500_000)
        assert small.connected()
        large.session.abort()
        assert await large.over() == (EndReason.MESSAGE_MEMORY, 1013)
        small.session.abort()
        await small.over()
        assert memory.used == 0

    test("asyncio")


@on_loop
async def test_one_that_holds_too_much_before_it_is_accepted_is_cut() -> None:
    memory = MessageMemory(50_000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    peer = Peer(app, memory=memory)
    await peer.send_bytes(bytes(60_000))
    assert await peer.over() == (EndReason.MESSAGE_MEMORY, 1006)
    assert memory.used == 0


BREAKS_THE_PROTOCOL = b"\x81\x01a"


@pytest.mark.parametrize(
    ("sent", "limit", "event"),
    [
        (BREAKS_THE_PROTOCOL, MIB, "websocket protocol error"),
        (frame(0x02, bytes(60_000)), 50_000, "websockets hold too much memory"),
    ],
    ids=["protocol", "memory"],
)
def test_what_clients_do_again_and_again_is_logged_ever_more_rarely(
    sent: bytes, limit: int, event: str
) -> None:
    @on_loop
    async def test() -> None:
        with capture_logs() as logs:
            for _ in range(10):
                peer = Peer(taker, memory=MessageMemory(limit))
                await peer.head()
                await peer.send_bytes(sent)
                await refused(peer)
                await peer.ended()
        assert [entry["count"] for entry in logs if entry["event"] == event] == [1, 2, 4, 8]

    test("asyncio")


@on_loop
async def test_while_memory_is_tight_nobody_is_read_whose_messages_wait() -> None:
    memory = MessageMemory(MIB)
    taken = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await taken.wait()
        while (await receive())["type"] != "websocket.disconnect":
            pass

    hoarder, peer = Peer(sleeper, memory=memory), Peer(app, memory=memory)
    await hoarder.head()
    await peer.head()
    await hoarder.send_bytes(frame(0x02, bytes(600_000)))
    await until(lambda: memory.tight)
    await peer.send(TextMessage(data="a"))
    await until(lambda: not peer.conn.reading)
    taken.set()
    await until(lambda: peer.conn.reading)
    hoarder.session.abort()
    await hoarder.over()
    await peer.ended()


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_message_that_is_not_completed_in_time_ends_with_1008(codec: str) -> None:
    @on_loop
    async def test() -> None:
        peer = Peer(taker, message_timeout=60, codec=codec)
        await peer.head()
        now = peer.loop.time()
        for turn in range(3):  # another message each time
            await peer.send_bytes(frame(0x01, b"a"))
            await peer.turns()
            peer.session.check_deadlines(now + turn * 50)
            await peer.send_bytes(frame(0x80, b"b"))
            await peer.turns()
        peer.session.check_deadlines(now + 150)
        await peer.send_bytes(frame(0x01, b"a"))
        await peer.turns()
        peer.session.check_deadlines(now + 200)
        await peer.send_bytes(frame(0x00, b"a"))  # to go on is not to complete
        await peer.turns()
        peer.session.check_deadlines(now + 259)
        assert peer.connected()
        peer.session.check_deadlines(now + 261)
        assert await refused(peer) == CloseConnection(code=1008, reason="message timeout")
        assert await peer.ended() == (EndReason.MESSAGE_TIMEOUT, 1008)

    test("asyncio")


@on_loop
async def test_a_message_whose_rest_we_do_not_read_is_not_late() -> None:
    memory = MessageMemory(MIB)
    hoarder, peer = Peer(sleeper, memory=memory), Peer(sleeper, memory=memory, message_timeout=60)
    await hoarder.head()
    await peer.head()
    await hoarder.send_bytes(frame(0x02, bytes(600_000)))
    await until(lambda: memory.tight)
    await peer.send_bytes(frame(0x81, b"a") + frame(0x01, b"a"))
    await until(lambda: not peer.conn.reading)
    now = peer.loop.time()
    for turn in range(5):
        peer.session.check_deadlines(now + turn * 100)
    assert peer.connected()
    for one in (hoarder, peer):
        one.session.abort()
        await one.over()


# the time of one turn


@on_loop
async def test_one_that_sends_small_messages_waits_for_none_of_those_whose_frames_take_long() -> None:
    received: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        while (message := await receive())["type"] != "websocket.disconnect":
            received.append(message["text"])

    peer = Peer(app)
    await peer.head()
    backlog = peer.session._link._backlog
    await peer.send_bytes(frame(0x81, b"a"))
    await until(lambda: received == ["a"])
    backlog._due = True  # nobody's turn comes
    backlog.waiting.append(lambda: None)
    await peer.send_bytes(frame(0x81, b"b"))
    await until(lambda: received == ["a", "b"])
    await peer.send_bytes(frame(0x8A, b"") * 2 * FRAMES_PER_TURN + frame(0x81, b"c"))
    await until(lambda: len(backlog.waiting) == 2)
    assert received == ["a", "b"], "what takes long waits like others"
    backlog._due = False
    backlog._schedule()
    await until(lambda: received == ["a", "b", "c"])
    await peer.ended()


@pytest.mark.parametrize(("others", "is_served"), [(CROWD, False), (CROWD // 2, True)])
def test_while_many_wait_one_whose_client_has_left_without_a_word_waits_no_more(
    others: int, is_served: bool
) -> None:
    @on_loop
    async def test() -> None:
        received = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            while (message := await receive())["type"] != "websocket.disconnect":
                received.append(message)

        def wait_again() -> None:
            if peer.connected():
                backlog.add(wait_again)

        peer = Peer(app)
        await peer.head()
        backlog = peer.session._link._backlog
        for _ in range(others):
            backlog.add(wait_again)
        peer.sock.send(frame(0x81, b"a"))
        peer.sock.close()
        await peer.over()
        assert bool(received) is is_served

    test("asyncio")


@on_loop
async def test_in_one_turn_of_the_loop_only_some_frames_of_a_connection_are_interpreted() -> None:
    peer = Peer(taker)
    await peer.head()
    link = peer.session._link
    sent = FLOOD - 1
    await peer.send_bytes(frame(0x8A, b"") * sent)
    steps, before = [], 0
    while before < sent:
        await asyncio.sleep(0)
        steps.append(link._idle - before)
        before = link._idle
    assert max(steps) <= 2 * FRAMES_PER_TURN  # that of the read, and that of the waiting
    await peer.ended()


@on_loop
async def test_of_pings_that_come_together_the_first_and_the_last_are_answered() -> None:
    peer = Peer(taker)
    await peer.head()
    await peer.send(*(Ping(payload=b"%d" % number) for number in range(300)))
    assert [await peer.event() for _ in range(PONGS)] == [Pong(payload=b"%d" % n) for n in range(PONGS)]
    assert await peer.event() == Pong(payload=b"299")
    await peer.send(Ping(payload=b"again"))
    assert await peer.event() == Pong(payload=b"again")
    await peer.ended()


@on_loop
async def test_a_ping_before_the_close_is_answered() -> None:
    peer = Peer(taker)
    await peer.head()
    await peer.send(Ping(payload=b"p"), CloseConnection(code=1000))
    assert await peer.event() == Pong(payload=b"p")
    assert await peer.event() == CloseConnection(code=1000, reason="")
    await peer.ended()


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"", frame(0x89, b"p")),
        (b"", frame(0x8A, b"p")),
        (frame(0x01, b"a"), frame(0x00, b"")),
        (b"", frame(0x81, b"")),
        (b"", frame(0x01, b"") + frame(0x80, b"")),
    ],
    ids=["pings", "pongs", "fragments", "messages", "fragmented messages"],
)
def test_a_client_that_sends_only_what_is_empty_ends_with_1008(codec: str, first: bytes, more: bytes) -> None:
    @on_loop
    async def test() -> None:
        peer = Peer(taker, codec=codec)
        await peer.head()
        await peer.send_bytes(first + more * (FLOOD + 1))
        assert await refused(peer) == CloseConnection(code=1008, reason="too many frames without content")
        peer.session.abort()
        assert await peer.over() == (EndReason.FLOOD, 1008)

    test("asyncio")


@on_loop
async def test_empty_messages_are_a_flood_also_when_each_comes_by_itself() -> None:
    peer = Peer(taker)
    await peer.head()
    for _ in range(FLOOD + 1):
        await peer.send_bytes(frame(0x82, b""))
        await peer.turns(2)
    assert await refused(peer) == CloseConnection(code=1008, reason="too many frames without content")
    assert await peer.ended() == (EndReason.FLOOD, 1008)


@on_loop
async def test_a_ping_with_each_message_is_no_flood_nor_are_many_in_many_seconds() -> None:
    peer = Peer(taker)
    await peer.head()
    for _ in range(4):
        await peer.send_bytes((frame(0x89, b"p") + frame(0x81, b"m")) * FLOOD)
        await peer.send_bytes(frame(0x89, b"p") * (FLOOD // 2))
        await until(lambda: peer.session._link._idle >= FLOOD // 2)
        peer.session.check_deadlines(peer.loop.time())  # a second later
    assert peer.connected()
    await peer.send(CloseConnection(code=1000))
    assert await refused(peer) == CloseConnection(code=1000, reason="")
    await peer.ended()


# compression


def inflated(codec: Codec) -> tuple[int, int]:
    """How many events were needed for all that was fed, and how much the largest step has added to what is held."""
    count, most, before = 0, 0, codec.held
    while (event := codec.next_event()) is not None:
        count += 1
        if isinstance(event, MessagePart):
            most = max(most, codec.held - before)
        before = codec.held
    return count, most


def test_a_compressed_message_is_inflated_in_steps() -> None:
    codec = choose_codec("frames")(16 * MIB, DeflateTerms(), 16 * MIB)
    text = b"".join(b"%d, %d; " % (number, number * number) for number in range(60_000))
    data = packed(text)
    codec.feed(frame(0xC2, data))
    count, most = inflated(codec)
    assert count >= len(text) // STEP_OUT
    assert count >= len(data) // STEP_IN
    assert most <= STEP_OUT
    codec.feed(frame(0xC2, data))
    while isinstance(event := codec.next_event(), MessagePart):
        pass
    assert isinstance(event, Received)
    assert event.data == text
    codec.feed(frame(0xC2, packed(bytes(INFLATED_FREELY))))  # all of it is within what one step takes
    count, most = inflated(codec)
    assert count > INFLATED_FREELY // STEP_OUT
    assert most <= STEP_OUT


def test_a_compressed_message_has_a_limit_of_its_own(new: NewCodec) -> None:
    text = b"".join(b"%d, " % number for number in range(30_000))
    for limit, fits in ((len(text), True), (len(text) - 1, False)):
        codec = new(16 * MIB, DeflateTerms(), limit)
        codec.feed(frame(0xC1, packed(text)))
        if fits:
            while isinstance(event := codec.next_event(), MessagePart):
                pass
            assert isinstance(event, Received)
        else:
            assert _code(codec) == 1009


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_message_that_is_almost_nothing_but_compression_is_refused(new: NewCodec, fragments: int) -> None:
    for size, fits in ((INFLATED_FREELY, True), (INFLATED_FREELY + 1, False)):
        codec = new(16 * MIB, DeflateTerms(), 16 * MIB)
        data = packed(bytes(size))
        assert INFLATE_RATIO * len(data) < INFLATED_FREELY
        step = len(data) // fragments + 1
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        for number, piece in enumerate(pieces):
            first = (0x80 if number == len(pieces) - 1 else 0) | (0x42 if number == 0 else 0)
            codec.feed(frame(first, piece))
        if fits:
            while isinstance(event := codec.next_event(), MessagePart):
                pass
            assert event == Received(bytes(size), size)
        else:
            assert _code(codec) == 1009


def _code(codec: Codec) -> int:
    with pytest.raises(FrameError) as failure:
        while codec.next_event() is not None:
            pass
    return failure.value.code


@on_loop
async def test_a_client_whose_messages_inflate_beyond_measure_ends_with_1009() -> None:
    peer = Peer(taker, headers=DEFLATE, max_message=16 * MIB, max_inflated=16 * MIB)
    await peer.head()
    await peer.send_bytes(frame(0xC1, packed(b"x" * 8 * MIB)))
    assert await refused(peer) == CloseConnection(code=1009, reason="message too big")
    assert await peer.ended() == (EndReason.PROTOCOL_ERROR, 1009)
