"""JSON-RPC lines: whatever comes between them, the good ones are read, in order."""

import contextlib
import socket
from typing import cast

import anyio
from hypothesis import strategies as st

from hsrv.rpc.framing import LineReader
from hsrv.rpc.messages import InvalidMessage, Message, encode, request
from tests.fuzz import past
from tests.fuzz.targets import PLACES, Target, cut, mutated
from tests.unit.rpc.test_framing import junk, line

Input = tuple[list[bytes], list[int]]


class Pieces:
    """A socket from which these pieces are received."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def recv(self, size: int) -> bytes:
        if not self._pieces:
            return b""
        piece, self._pieces[0] = self._pieces[0][:size], self._pieces[0][size:]
        if not self._pieces[0]:
            del self._pieces[0]
        return piece


async def receive_all(reader: LineReader) -> list[Message | Exception]:
    found = []
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            found.append(await reader.receive())
    return found


def check(data: Input) -> None:
    pieces, places = data
    stream = b"".join(
        piece.replace(b"\n", b" ") + b"\n" + encode(request(f"good{number}", "x", None)) + b"\n"
        for number, piece in enumerate(pieces)
    )
    reader = LineReader(cast("socket.socket", Pieces(cut(stream, places))))
    found = anyio.run(receive_all, reader)
    assert all(isinstance(message, Message | InvalidMessage) for message in found)
    good = [id_ for message in found if str(id_ := getattr(message, "id", "")).startswith("good")]
    assert good == [f"good{number}" for number in range(len(pieces))]


TARGET = Target(
    "lines",
    st.tuples(st.lists(junk | mutated(st.just(line("almost"))), max_size=6), PLACES),
    check,
    past.LINES,
)
