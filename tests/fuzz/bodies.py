"""Chunked bodies: however they are cut, the same comes out, or the same refusal."""

from hypothesis import strategies as st

from hsrv.common.errors import ClientError
from hsrv.http.wire.body import ChunkedBody
from tests.fuzz import past
from tests.fuzz.targets import PLACES, Target, cut, mutated

LIMIT = 300

Input = tuple[bytes, list[int], int]


def read(pieces: list[bytes], most: int) -> tuple[bytes, str, bytes]:
    """Body, how it ended, and what is left of the input."""
    decoder, buffer, body = ChunkedBody(LIMIT), bytearray(), b""
    for piece in pieces:
        buffer += piece
        try:
            while (data := decoder.decode(buffer, most)) or decoder.paused:
                assert len(data) <= most
                body += data
        except ClientError as error:
            assert error.status in (400, 413)
            return (
                b"",
                f"{error.status}",
                b"",
            )  # of what was decoded before, the pieces decide what was given out
        assert len(body) <= LIMIT
    return body, "done" if decoder.done else "more", bytes(buffer) if decoder.done else b""


def check(data: Input) -> None:
    stream, places, most = data
    whole = read([stream], 1 << 20)
    assert read(cut(stream, places), most) == whole
    assert read([bytes([byte]) for byte in stream], 1 << 20) == whole


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    extensions = st.sampled_from([b"", b"", b"", b";a", b' ; a = "\\"b"', b";", b" ", b"\t;x=y;z"])
    data = b""
    for chunk in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5)):
        size = draw(st.sampled_from([b"%x", b"%X", b"000%x"])) % len(chunk)
        data += size + draw(extensions) + b"\r\n" + chunk + b"\r\n"
    data += b"0" + draw(extensions) + b"\r\n"
    fields = st.sampled_from([b"T: x\r\n", b"U:\r\n", b"host: a\r\n", b" folded\r\n"])
    return data + b"".join(draw(st.lists(fields, max_size=2))) + b"\r\n" + draw(st.binary(max_size=5))


TARGET = Target(
    "bodies",
    st.tuples(mutated(bodies()) | st.binary(max_size=60), PLACES, st.integers(1, 50)),
    check,
    past.BODIES,
)
