"""Every parser splits a head in the same way."""

import pytest

from hsrv.common.errors import ClientError
from hsrv.http.wire.head import HeadLimits, read_head
from hsrv.http.wire.parser import PARSERS, HeadParser, RawHead, choose_parser


@pytest.fixture(params=sorted(PARSERS))
def parse(request: pytest.FixtureRequest) -> HeadParser:
    return choose_parser(str(request.param))


def test_a_parser_is_found_by_its_name(parse: HeadParser) -> None:
    assert parse.name in PARSERS


def test_auto_is_one_of_them() -> None:
    assert choose_parser("auto").name in PARSERS


def test_a_head_is_split_into_its_parts(parse: HeadParser) -> None:
    block = (
        b"PATCH /a?b HTTP/1.1\r\nHost:A\r\nX-Twice: 1\r\nx-TWICE: \t2 3\t \r\nX-Empty:\r\nX-Raw: \xe9\r\n\r\n"
    )
    assert parse(block) == RawHead(
        b"PATCH",
        b"/a?b",
        b"1.1",
        [(b"host", b"A"), (b"x-twice", b"1"), (b"x-twice", b"2 3"), (b"x-empty", b""), (b"x-raw", b"\xe9")],
    )


def test_a_head_of_http_1_0_needs_no_host(parse: HeadParser) -> None:
    assert parse(b"GET / HTTP/1.0\r\n\r\n") == RawHead(b"GET", b"/", b"1.0", [])


def test_one_head_leaves_nothing_for_the_next(parse: HeadParser) -> None:
    block = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"
    assert parse(block) == parse(block)


def test_a_large_head_is_no_matter_of_the_parser(parse: HeadParser) -> None:
    value = b"x" * 200_000
    assert parse(b"GET / HTTP/1.0\r\na: " + value + b"\r\n\r\n").headers == [(b"a", value)]


@pytest.mark.parametrize(
    ("sent", "seen"), [(b"chunked", b"chunked"), (b"CHUNKED", b"chunked"), (b" Chunked\t", b"chunked")]
)
def test_a_transfer_coding_is_seen_in_lower_case(parse: HeadParser, sent: bytes, seen: bytes) -> None:
    block = b"POST / HTTP/1.1\r\nHost: A\r\nTransfer-Encoding:" + sent + b"\r\n\r\n"
    limits = HeadLimits(request_line=200, head=2000, fields=10, body=1000)
    assert read_head(block, parse, limits).headers == [(b"host", b"A"), (b"transfer-encoding", seen)]


@pytest.mark.parametrize("block", [b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\n", b"\r\n"])
def test_what_is_no_head_is_a_400(parse: HeadParser, block: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        parse(block)
    assert caught.value.status == 400
