"""The table of `websocket` over real sockets, whole and in pieces; and compression with every kind of offer."""

import json
import random
import re
import socket
import time
import zlib
from collections.abc import Iterator

import pytest

from hsrv.testing import LiveServer
from tests.conformance.websocket import (
    BINARY,
    CASES,
    CLOSE,
    CONTINUATION,
    OFFERS,
    SIZES,
    TEXT,
    Case,
    Out,
    close,
    frame,
)
from tests.integration.conftest import ROOT
from tests.integration.wire import Wire, upgrade

SMALL = 400
"""Bytes up to which a case is cut into bytes; larger ones in three."""


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("tests.autobahn.app:app", cwd=ROOT, workers=1, ws_max_message=8 << 20) as server:
        yield server


class Client(Wire):
    """A WebSocket of which every byte is looked at."""

    def __init__(self, server: LiveServer, offer: str | None = None) -> None:
        super().__init__(server.host, server.port)
        self.send(upgrade("/", *([f"Sec-WebSocket-Extensions: {offer}"] if offer else [])))
        answer = self.head()
        assert answer.status == 101
        self.terms = answer.headers.get("sec-websocket-extensions", "")
        self.raw_frames = 0
        self._inflater = self._new_inflater()

    def _new_inflater(self) -> "zlib._Decompress":
        bits = re.search(r"server_max_window_bits=(\d+)", self.terms)
        return zlib.decompressobj(-int(bits[1] if bits else 15))

    def frame(self) -> tuple[bool, bool, int, bytes]:
        """fin, compressed, opcode, payload"""
        first, second = self.exactly(2)
        assert first & 0x30 == 0
        assert second < 0x80, "a server masks nothing"
        size = second
        if second > 125:
            size = int.from_bytes(self.exactly(2 if second == 126 else 8), "big")
            assert size > (125 if second == 126 else 65535), "the shortest length"
        self.raw_frames += 1
        return first >= 0x80, bool(first & 0x40), first & 15, self.exactly(size)

    def message(self) -> Out:
        """The next control frame or whole message, inflated."""
        fin, compressed, opcode, payload = self.frame()
        while not fin:
            fin, _, following, more = self.frame()
            assert following == CONTINUATION
            payload += more
        if compressed:
            payload = self._inflater.decompress(payload + b"\x00\x00\xff\xff")
            if "server_no_context_takeover" in self.terms:
                self._inflater = self._new_inflater()
        return opcode, payload


def outcome(client: Client, case: Case, how: str) -> tuple[tuple[Out, ...], int | None]:
    """What came back, and the code of the close frame."""
    send(client, case.first, how)
    out = tuple(client.message() for _ in case.out)
    send(client, case.then, how)
    opcode, last = client.message()
    assert opcode == CLOSE, f"{case.name}: {last!r} came"
    assert client.ended(), f"{case.name}: more after the close frame"
    return out, int.from_bytes(last[:2], "big") if last else None


def send(client: Client, data: bytes, how: str) -> None:
    for piece in pieces(data, how):
        try:
            client.send(piece)
        except ConnectionError:  # it has failed the connection and does not wait for the rest
            return
        if how == "thirds":
            time.sleep(0.0005)  # so that they arrive apart


def pieces(data: bytes, how: str) -> Iterator[bytes]:
    if how == "bytes":
        yield from (data[at : at + 1] for at in range(len(data)))
    elif how == "thirds":
        yield data[:1]
        yield data[1 : len(data) // 2]
        yield data[len(data) // 2 :]
    else:
        yield data


@pytest.mark.parametrize("how", ["whole", "thirds", "bytes"])
def test_frames(server: LiveServer, how: str) -> None:
    for case in CASES:
        if how != "whole" and (how == "bytes") != (len(case.first + case.then) <= SMALL):
            continue
        with Client(server) as client:
            seen = outcome(client, case, how)
        assert seen == (case.out, case.code), f"{case.name} (RFC 6455 section {case.rfc})"


def text_of(size: int, dice: random.Random) -> bytes:
    """JSON-like, so that it can be compressed, but not to nothing."""
    text = json.dumps(
        [dice.choice(["name", "value", "µ", "true"]) + str(dice.random()) for _ in range(size // 20 + 1)]
    )
    return text.encode("ascii")[:size]


@pytest.mark.parametrize("offer", OFFERS)
def test_compressed_messages(server: LiveServer, offer: str) -> None:
    """Families 12 and 13: each message comes back, under the terms that were agreed upon."""
    dice = random.Random(offer)
    with Client(server, offer) as client:
        if not client.terms:
            assert "server_max_window_bits=8" in offer
            return
        assert ("server_max_window_bits=9" in offer) == ("server_max_window_bits=9" in client.terms)
        assert ("server_no_context_takeover" in offer) <= ("server_no_context_takeover" in client.terms)
        bits = re.search(r"client_max_window_bits=(\d+)", client.terms)
        deflate = compressor(bits)
        for opcode in (TEXT, BINARY):
            for size in SIZES:
                data = text_of(size, dice) if opcode == TEXT else dice.randbytes(size)
                compressed = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
                client.send(in_two(opcode, compressed[:-4]))
                assert client.message() == (opcode, data), f"{size} bytes"
                if "client_no_context_takeover" in client.terms:
                    deflate = compressor(bits)
        client.send(close())
        assert client.message()[0] == CLOSE
        assert client.ended()


def compressor(bits: "re.Match[str] | None") -> "zlib._Compress":
    return zlib.compressobj(6, zlib.DEFLATED, -max(9, int(bits[1] if bits else 15)))


def in_two(opcode: int, data: bytes) -> bytes:
    """A compressed message in two fragments: only the first carries the bit (RFC 7692 section 6.1)."""
    half = len(data) // 2
    return frame(opcode, data[:half], fin=False, rsv=4) + frame(CONTINUATION, data[half:])


def test_a_client_that_resets_in_the_middle_is_no_trouble(server: LiveServer) -> None:
    for data in (frame(TEXT, b"x" * 70_000)[:-1], frame(TEXT, b"a", fin=False), b"\x81"):
        with Client(server) as client:
            client.send(data)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with Client(server) as client:
        client.send(frame(TEXT, b"a"))
        assert client.message() == (TEXT, b"a")
