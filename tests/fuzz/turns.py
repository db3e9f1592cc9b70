"""The time of one turn: whatever a client sends as frames or as a chunked body, the loop is soon free for others.

What is measured is CPU time: of frames from the socket to the messages, with the link and the loop of a pool; of a body
what is decoded of it, by the backlog and the loop of a worker.
"""

import asyncio
import socket
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from hypothesis import strategies as st

from hsrv.asyncpool.websocket.codecs.codec import choose_codec
from hsrv.asyncpool.websocket.codecs.deflate import DeflateTerms
from hsrv.asyncpool.websocket.link import WebSocketLink
from hsrv.asyncpool.websocket.memory import MessageMemory
from hsrv.asyncpool.websocket.settings import WebSocketSettings
from hsrv.common.errors import ClientError
from hsrv.http.backlog import Backlog
from hsrv.http.wire.body import ChunkedBody
from hsrv.ipc.messages import Origin
from hsrv.net.conn import RECEIVE_SIZE, Conn
from tests.fuzz.frames import frame
from tests.fuzz.targets import Target, mutated

LONGEST: Final = 0.005
"""Seconds of one turn."""

TRIES: Final = 4
"""Times that an input must take longer before it is believed: the machine's own pauses come only once."""

MIB: Final = 1 << 20
QUIET: Final = 3
"""Turns of the loop without anything left to do, after which nothing will come."""


class Rig:
    """One link on a loop that is turned by hand."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        server, self.client = socket.socketpair()
        for end in (server, self.client):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * RECEIVE_SIZE)
        server.setblocking(False)
        self.conn = Conn(server, self.loop, Origin(client=None, server=None, accepted_at=0.0))
        self.backlog = Backlog(self.loop)
        settings = WebSocketSettings(
            codec="frames",
            max_message=16 * MIB,
            max_inflated=MIB,
            message_timeout=60,
            ping_interval=20,
            ping_timeout=20,
            per_message_deflate=True,
            send_timeout=30,
            close_timeout=1,
        )
        memory = MessageMemory(256 * MIB)
        self.link = WebSocketLink(
            self.conn,
            b"",
            settings,
            self.loop,
            backlog=self.backlog,
            memory=memory,
            on_change=_nothing,
            on_closed=_nothing,
        )
        self.link.start()
        self.link.accept(b"HTTP/1.1 101 \r\n\r\n", choose_codec("frames")(16 * MIB, DeflateTerms(), MIB))

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def longest_turn(self, data: bytes) -> float:
        """Of all turns that it takes to read it."""
        self.client.sendall(data)
        longest, quiet = 0.0, 0
        while quiet < QUIET:
            longest = max(longest, seconds(self.turn))
            while len(self.link):
                longest = max(longest, seconds(self.link.take))
            quiet = 0 if self.backlog else quiet + 1
        return longest

    def close(self) -> None:
        self.conn.close()
        self.client.close()
        self.loop.close()


class Body:
    """One chunked body on a loop that is turned by hand."""

    def __init__(self, data: bytes) -> None:
        self.loop = asyncio.new_event_loop()
        self.backlog = Backlog(self.loop)
        self.decoder = ChunkedBody(1 << 30)
        self.buffer = bytearray(data)

    def slice(self) -> None:
        """As a connection feeds its exchange."""
        with suppress(ClientError):
            self.decoder.decode(self.buffer, RECEIVE_SIZE)
            if self.decoder.paused:
                self.backlog.add(self.slice)

    def longest_turn(self) -> float:
        longest = seconds(self.slice)
        while self.backlog:
            self.loop.call_soon(self.loop.stop)
            longest = max(longest, seconds(self.loop.run_forever))
        return longest


def measure_body(data: bytes) -> float:
    body = Body(data)
    try:
        return body.longest_turn()
    finally:
        body.loop.close()


def _nothing() -> None:
    pass


def seconds(step: Callable[[], object]) -> float:
    began = time.thread_time()
    step()
    return time.thread_time() - began


def measure(data: bytes) -> float:
    rig = Rig()
    try:
        return rig.longest_turn(data)
    finally:
        rig.close()


def check(data: tuple[str, bytes]) -> None:
    kind, sent = data
    taken = [MEASURES[kind](sent[:RECEIVE_SIZE])]
    while taken[-1] > LONGEST and len(taken) < TRIES:
        taken.append(MEASURES[kind](sent[:RECEIVE_SIZE]))
    assert min(taken) <= LONGEST, f"{kind}: {taken} s"


MEASURES: Final = {"frames": measure, "body": measure_body}


def packed(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def blocks(count: int) -> bytes:
    """Deflate's blocks with trees of their own, and almost nothing in them: the most work for the least output."""
    deflater = zlib.compressobj(9, wbits=-15)
    data = b""
    for number in range(count):
        data += deflater.compress(bytes(range(number % 7, 100 + number % 90))) + deflater.flush(zlib.Z_BLOCK)
    return data + deflater.flush(zlib.Z_SYNC_FLUSH)[:-4]


_NEWS: Final = b"".join(b"%d " % number for number in range(20_000))

_unit = st.sampled_from(
    [
        frame(0x89, b""),
        frame(0x8A, bytes(125)),
        frame(0x01, b"a") + frame(0x00, b"") * 3,
        frame(0x81, b""),
        frame(0x82, b"a"),
        frame(0x81, "\U0001f600".encode() * 20),
        frame(0xC1, packed(b"a" * 100)),
        frame(0xC2, packed(bytes(100_000))),
        frame(0x41, packed(_NEWS * 4)),
        frame(0xC1, packed(_NEWS * 9)),
        frame(0xC1, packed("\U0001f600\xe4".encode() * 15_000)),
    ]
)
_whole = st.sampled_from(
    [
        frame(0xC2, packed(bytes(MIB))) + bytes(60_000),
        frame(0xC2, b"\x00\x00\x00\xff\xff" * 13_000),
        frame(0xC2, blocks(1000)),
        frame(0x81, b"a" * 65_000),
        frame(0x81, ("a" * 64_000 + "\U0001f600").encode()),
        frame(0xC1, packed(_NEWS * 6 + "\U0001f600".encode())),
    ]
)
_chunk = st.sampled_from(
    [
        b"1\r\na\r\n",
        b"0000000000000001\r\na\r\n",
        b"1;a\r\na\r\n",
        b'1;a="' + b"\\a" * 200 + b'"\r\na\r\n',
        b"1" + b";a=b" * 100 + b"\r\na\r\n",
        b"40\r\n" + bytes(64) + b"\r\n",
        b"1000\r\n" + bytes(4096) + b"\r\n",
    ]
)
_trailers = st.sampled_from([b"0\r\n" + b"a:b\r\n" * 3000, b"0\r\n" + b"a:" + b"b" * 60_000, b"0" * 60_000])


def filled(units: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Some of them, again and again."""
    return (
        st.lists(units, min_size=1, max_size=3)
        .map(b"".join)
        .map(lambda data: data * (RECEIVE_SIZE // len(data) + 1))
    )


_frames = filled(_unit) | _whole
_bodies = filled(_chunk) | _trailers | st.builds(bytes.__add__, _chunk, _trailers)

TARGET = Target(
    "turns",
    st.tuples(st.just("frames"), _frames | mutated(_frames))
    | st.tuples(st.just("body"), _bodies | mutated(_bodies)),
    check,
    short=20,
)
