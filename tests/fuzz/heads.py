"""Request heads: a RequestHead or a ClientError, the same by every parser, and it survives the way to the pool."""

from dataclasses import replace

from hypothesis import strategies as st

from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.common.terms import HeaderMap
from hsrv.http.wire.head import HeadLimits, take_head
from hsrv.http.wire.parser import PARSERS, choose_parser
from hsrv.http.wire.raw import HeadParser
from hsrv.ipc.messages import Origin, StreamingHandoff, Trace, decode_handoff, encode
from tests.fuzz import past
from tests.fuzz.targets import PLACES, Target, cut, mutated
from tests.unit.http.wire.test_parsers_agree import LIMITS, in_pieces, streams

WIDE = HeadLimits(request_line=8192, head=65536, fields=128, body=1 << 30, header_map=HeaderMap.KEEP)
STRICT = replace(LIMITS, header_map=HeaderMap.REFUSE)
ORIGIN = Origin(client=("192.0.2.1", 1), server=None, accepted_at=0.0)

Input = tuple[list[bytes], HeadLimits]
Outcome = tuple[list[RequestHead], str]


def read(pieces: list[bytes], parse: HeadParser, limits: HeadLimits) -> Outcome:
    buffer, heads, searched = bytearray(), [], 0
    for piece in pieces:
        buffer += piece
        try:
            while (head := take_head(buffer, searched, parse, limits)) is not None:
                heads.append(head)
                searched = 0
        except ClientError as error:
            assert error.status in (400, 413, 414, 417, 426, 431, 501, 505)
            return heads, f"{error.status} {error}"
        searched = len(buffer)
    return heads, bytes(buffer).decode("latin-1")


def check(data: Input) -> None:
    pieces, limits = data
    first, *others = (read(pieces, parser, limits) for parser in map(choose_parser, PARSERS))
    assert others == [first] * len(others)
    for head in first[0]:
        handoff = StreamingHandoff(origin=ORIGIN, head=head, buffered=b"", trace=Trace(request_id="x"))
        assert decode_handoff(encode(handoff)) == handoff


_streams = st.binary(max_size=200) | mutated(streams())

TARGET = Target(
    "heads",
    st.tuples(in_pieces() | st.builds(cut, _streams, PLACES), st.sampled_from([LIMITS, WIDE, STRICT])),
    check,
    past.HEADS,
)
