"""Whatever arrives, in whatever pieces: every parser makes the same of it, or all refuse it alike.

A few hundred streams each time; with HSRV_TEST_LONG=1 a million.
"""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.http.wire.head import HeadLimits, take_head
from hsrv.http.wire.parser import PARSERS, HeadParser, choose_parser
from tests.conftest import LONG

LIMITS = HeadLimits(request_line=60, head=400, fields=8, body=1000)
REFERENCE = choose_parser("h11")
OTHERS = [choose_parser(name) for name in PARSERS if name != REFERENCE.name]

STREAMS = 3000 if LONG else 500
"""In one run of hypothesis: it remembers what it tried, and of a million at once it would be too much."""
RUNS = 334 if LONG else 1

Outcome = tuple[list[RequestHead], tuple[int, str] | None, bytes]
"""The heads, how the stream was refused if it was, and what is left."""


def read(pieces: list[bytes], parse: HeadParser) -> Outcome:
    """What a connection makes of the pieces it receives, as long as no request has a body."""
    buffer = bytearray()
    searched = 0
    heads = []
    for piece in pieces:
        buffer += piece
        try:
            while (head := take_head(buffer, searched, parse, LIMITS)) is not None:
                heads.append(head)
                searched = 0
        except ClientError as error:
            return heads, (error.status, str(error)), bytes(buffer)
        searched = len(buffer)
    return heads, None, bytes(buffer)


KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
WEBSOCKET = [b"Connection: Upgrade", b"Upgrade: websocket", KEY, b"Sec-WebSocket-Version: 13"]

METHODS = b"GET POST HEAD OPTIONS CONNECT get PRI !#$%&'*+-.^_`|~".split()
TARGETS = b"/ /a%20b?x=%26&y * http://a/b?c HTTP://a /\\:<>{}|^` //a// /?# a /? /_ /:x /% ? /..;/".split()
VERSIONS = b"HTTP/1.1 HTTP/1.1 HTTP/1.1 HTTP/1.0 HTTP/2.0 http/1.1 HTTP/1.10".split()
NAMES = b"""Host Content-Length Transfer-Encoding Connection Upgrade Expect Accept Cookie X_A x-a !#$%&'*+-.^_`|~
    Sec-WebSocket-Key Sec-WebSocket-Version X-Forwarded-For""".split()
VALUES = b"""a a:80 0 5 007 5,5 4000 chunked Chunked gzip,\tchunked close Upgrade,keep-alive websocket h2c 100-continue
    text/event-stream;q=0.1 13 : \xe9\x80\xff""".split()
USUAL = [
    *(b"Host: a", b"hOST:\ta:80 ", b"Accept: */*", b"Cookie: a=b; c", b"X-A:", b"x-a: 1 \t2", b"x_a: 1"),
    *(
        b"Content-Length: 5",
        b"Content-Length: 4000",
        b"Transfer-Encoding: ChunkeD",
        b"Connection: close",
        b"Expect: 100-continue",
    ),
    *WEBSOCKET,
]
BLANKS = [b"", b" ", b" ", b"\t", b" \t "]
NASTY = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b'"',
        b"_",
        b"%",
        b"?",
        b"#",
    ),
    *(b"\x00", b"\x0b", b"\x0c", b"\x1c", b"\x7f", b"\x85", b"\xa0", b"\xff", b"HTTP/1.1", b"x" * 100),
]


def _head(first: tuple[bytes, ...], fields: list[bytes]) -> bytes:
    return b"\r\n".join([b" ".join(first), *fields]) + b"\r\n\r\n"


def _one(choices: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(choices)


VALID = st.builds(
    lambda target, fields: _head((b"GET", target, b"HTTP/1.1"), [b"Host: a", *fields]),
    _one([b"/", b"/a?b"]),
    st.one_of(st.just(WEBSOCKET), st.lists(_one(USUAL), max_size=5, unique=True)),
)
FIELD = st.tuples(
    *(
        _one(NAMES),
        _one([b":"] * 9 + [b" :", b""]),
        _one(BLANKS),
        _one(VALUES) | st.binary(max_size=6),
        _one(BLANKS),
    )
).map(b"".join)
STRANGE = st.builds(
    _head,
    st.tuples(_one(METHODS), _one(TARGETS), _one(VERSIONS)),
    st.lists(_one(USUAL) | FIELD, max_size=9),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Heads, valid or not, one after the other, and here and there a byte or two that don't belong."""
    data = draw(st.sampled_from([b""] * 5 + [b"\r\n", b"\r\n" * 9, b"\x16\x03\x01"]))
    data += b"".join(draw(st.lists(VALID | STRANGE, min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.sampled_from([0, 0, 1, 2]))
        data = data[:start] + draw(_one([b"", *NASTY]) | st.binary(min_size=1, max_size=2)) + data[end:]
    return data


@st.composite
def in_pieces(draw: st.DrawFn) -> list[bytes]:
    data = draw(streams())
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=4))})
    return [data[start:end] for start, end in pairwise(cuts)]


BUDGET = settings(max_examples=STREAMS, database=None, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("parse", OTHERS, ids=lambda parse: parse.name)
@pytest.mark.parametrize("run", range(RUNS))
@BUDGET
@given(pieces=in_pieces())
def test_all_make_the_same_of_any_stream(pieces: list[bytes], parse: HeadParser, run: int) -> None:
    assert read(pieces, parse) == read(pieces, REFERENCE)


def test_the_streams_reach_heads_and_refusals() -> None:
    """Else the test above would say little."""
    reached: set[object] = set()

    @settings(BUDGET, max_examples=250, derandomize=True)
    @given(pieces=in_pieces())
    def look(pieces: list[bytes]) -> None:
        heads, refusal, _ = read(pieces, OTHERS[0])
        reached.add(refusal and refusal[0])
        reached.update("head" for head in heads if len(head.headers) > 2)
        reached.update("websocket" for head in heads if head.websocket)
        reached.update("pipelined" for _ in heads[1:])

    look()
    assert reached >= {"head", "websocket", "pipelined", None, 400, 431, 505}
