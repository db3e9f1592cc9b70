"""Bytes split at every offset: where the segments are cut makes no difference to what is served."""

import socket
import time
from collections.abc import Callable

import pytest

from tests.integration.conftest import Serve
from tests.integration.wire import Wire, masked, request, upgrade

EVENT_STREAM = "Accept: text/event-stream"


def pipelined(wire: Wire) -> object:
    """A POST with a body, a stream that is handed off, and a request after it, in one go."""
    answers = [wire.response() for _ in range(3)]
    return [(a.status, a.body if a.status == 200 and b"pid" not in a.body else b"") for a in answers]


PIPELINE = (
    request("/echo", "Content-Length: 5", method="POST", body=b"hello")
    + request("/sse?n=1", EVENT_STREAM)
    + request("/echo", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
)


def early_frame(wire: Wire) -> object:
    """An upgrade with the first frames in the same segment."""
    head = wire.head()
    echoed = wire.exactly(7), wire.exactly(5)
    wire.send(masked(8, b"\x03\xe8"))
    return head.status, echoed, wire.rest()


EARLY_FRAME = upgrade("/ws") + masked(1, b"hello") + masked(2, b"abc")


@pytest.mark.parametrize(
    ("data", "read"), [(PIPELINE, pipelined), (EARLY_FRAME, early_frame)], ids=["pipeline", "early frame"]
)
def test_every_split_behaves_the_same(serve: Serve, data: bytes, read: Callable[[Wire], object]) -> None:
    server = serve(workers=2)

    def outcome(cut: int) -> object:
        with Wire(server.host, server.port) as wire:
            wire.send(data[:cut])
            if cut:
                wait_until_taken(wire.sock)
                wire.send(data[cut:])
            return read(wire)

    def wait_until_taken(sock: socket.socket) -> None:
        """Until the server's kernel has acknowledged the first part: then it is a segment of its own."""
        end = time.monotonic() + 5
        while unacknowledged(sock) and time.monotonic() < end:
            time.sleep(0)

    whole = outcome(len(data))
    for cut in range(1, len(data)):
        assert outcome(cut) == whole, f"cut at {cut}: {data[:cut][-20:]!r} | {data[cut:][:20]!r}"


def test_one_byte_at_a_time(serve: Serve) -> None:
    server = serve(workers=2)
    for data, read in [(PIPELINE, pipelined), (EARLY_FRAME, early_frame)]:
        with Wire(server.host, server.port) as whole, Wire(server.host, server.port) as bytewise:
            whole.send(data)
            for byte in data:
                bytewise.send(bytes([byte]))
            assert read(bytewise) == read(whole)


def unacknowledged(sock: socket.socket) -> int:
    """Segments sent and not acknowledged yet (tcpi_unacked of TCP_INFO)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return int.from_bytes(info[24:28], "little")
