"""PROXY headers: what is taken, what is refused, and in which pieces they may come."""

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsrv.common.request import Address
from hsrv.common.terms import ProxyProtocol
from hsrv.http.wire.proxy import (
    ABSENT,
    V1_LIMIT,
    V2_LIMIT,
    V2_SIGNATURE,
    ProxyError,
    ProxyHeader,
    read_proxy_header,
)

V1, V2, AUTO = ProxyProtocol.V1, ProxyProtocol.V2, ProxyProtocol.AUTO

TCP4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
TCP6 = b"PROXY TCP6 2001:db8::1 2001:DB8::2 1 65535\r\n"


def v2(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return V2_SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + block


def addresses(client: str, server: str, client_port: int, server_port: int) -> bytes:
    ports = client_port.to_bytes(2, "big") + server_port.to_bytes(2, "big")
    return ip_address(client).packed + ip_address(server).packed + ports


INET = addresses("192.0.2.1", "198.51.100.2", 56324, 443)
INET6 = addresses("2001:db8::1", "2001:db8::2", 1, 65535)
TLV = b"\x04\x00\x03abc"

ACCEPTED = [
    (V1, TCP4, ("192.0.2.1", 56324), ("198.51.100.2", 443)),
    (V1, TCP6, ("2001:db8::1", 1), ("2001:db8::2", 65535)),
    (V1, b"PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", ("1.2.3.4", 0), ("5.6.7.8", 0)),
    (V1, b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", ("1.2.3.4", 1), ("::1", 2)),
    (V1, b"PROXY UNKNOWN\r\n", None, None),
    (V1, b"PROXY UNKNOWN ffff::1 whatever \x00\xff\r\n", None, None),
    (V1, b"PROXY UNKNOWN " + b"x" * (V1_LIMIT - 16) + b"\r\n", None, None),
    (V2, v2(0x21, 0x11, INET), ("192.0.2.1", 56324), ("198.51.100.2", 443)),
    (V2, v2(0x21, 0x21, INET6), ("2001:db8::1", 1), ("2001:db8::2", 65535)),
    (V2, v2(0x21, 0x11, INET + TLV), ("192.0.2.1", 56324), ("198.51.100.2", 443)),
    (V2, v2(0x21, 0x21, INET6.ljust(V2_LIMIT, b"\0")), ("2001:db8::1", 1), ("2001:db8::2", 65535)),
    (V2, v2(0x21, 0x31, b"/run/a".ljust(216, b"\0")), None, None),
    (V2, v2(0x21, 0x00, b""), None, None),
    (V2, v2(0x21, 0x00, TLV), None, None),
    (V2, v2(0x20, 0x00, b""), None, None),
    (V2, v2(0x20, 0x11, INET), None, None),
    (V2, v2(0x20, 0xFF, b"abc"), None, None),
]

REFUSED_V1 = [
    b"GET / HTTP/1.1\r\n",
    b"\r\n",
    b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b" PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r \r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 -2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \xb2\r\n",
    b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 [::1] ::1 1 2\r\n",
    b"PROXY TCP6 ::1::2 ::1 1 2\r\n",
    b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY unknown\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY UNKNOWN\n\r\n",
    b"PROXY UNKNOWN a\rb\r\n",
    b"PROXY \r\n",
    b"PROXY \n",
    b"PROXY / HTTP/1.1\r\n",
    b"PROXY UNKNOWN " + b"x" * (V1_LIMIT - 15) + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * V1_LIMIT,
    V2_SIGNATURE,
]

REFUSED_V2 = [
    b"GET / HTTP/1.1\r\n",
    TCP4,
    V2_SIGNATURE[:-1] + b"\r",
    v2(0x11, 0x11, INET),
    v2(0x31, 0x11, INET),
    v2(0x22, 0x11, INET),
    v2(0x2F, 0x11, INET),
    v2(0x21, 0x12, INET),
    v2(0x21, 0x10, INET),
    v2(0x21, 0x22, INET6),
    v2(0x21, 0x41, INET),
    v2(0x21, 0x01, b""),
    v2(0x21, 0x11, INET[:-1]),
    v2(0x21, 0x11, b""),
    v2(0x21, 0x21, INET6[:-1]),
    v2(0x21, 0x31, b"/run/a"),
    v2(0x21, 0x11, INET, length=V2_LIMIT + 1),
    v2(0x20, 0x00, b"", length=65535),
]


@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n\r\n", TCP4, V2_SIGNATURE])
@pytest.mark.parametrize(("version", "header", "client", "server"), ACCEPTED)
def test_a_header_is_taken_and_nothing_behind_it(
    version: ProxyProtocol, header: bytes, client: Address | None, server: Address | None, rest: bytes
) -> None:
    for expected in (version, AUTO):
        found = read_proxy_header(bytearray(header + rest), expected)
        assert found == ProxyHeader(len(header), client, server)


@pytest.mark.parametrize(("version", "header", "client", "server"), ACCEPTED)
def test_a_header_is_incomplete_up_to_its_last_byte(
    version: ProxyProtocol, header: bytes, client: object, server: object
) -> None:
    for expected in (version, AUTO):
        for end in range(len(header)):
            assert read_proxy_header(header[:end], expected) is None, end


@pytest.mark.parametrize("data", REFUSED_V1)
def test_version_1_refuses(data: bytes) -> None:
    with pytest.raises(ProxyError):
        read_proxy_header(data, V1)
    if data.startswith(b"PROXY "):
        with pytest.raises(ProxyError):
            read_proxy_header(data, AUTO)


@pytest.mark.parametrize("data", REFUSED_V2)
def test_version_2_refuses(data: bytes) -> None:
    with pytest.raises(ProxyError):
        read_proxy_header(data, V2)
    if data.startswith(V2_SIGNATURE):
        with pytest.raises(ProxyError):
            read_proxy_header(data, AUTO)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PUT /",
        b"PROXYING / HTTP/1.1\r\n",
        b"PROPFIND / HTTP/1.1\r\n",
        b"\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\n\r\nGET /",
        b"\x16\x03\x01",
        b"\n",
        V2_SIGNATURE[:-1] + b" ",
    ],
)
def test_auto_leaves_anything_else_alone(data: bytes) -> None:
    assert read_proxy_header(data, AUTO) == ABSENT


@pytest.mark.parametrize(
    "data",
    [b"PROXY TCP4 1.2.3.4\n", b"PROXY TCP5", b"PROXY G", b"PROXY TCP4 localhost", b"PROXY TCP4 1.2.3.4 \r "],
)
def test_nobody_waits_for_the_rest_of_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ProxyError):
        read_proxy_header(data, V1)


@given(st.binary(max_size=300), st.sampled_from([V1, V2, AUTO]))
def test_whatever_comes_is_answered(data: bytes, expected: ProxyProtocol) -> None:
    for start in (b"", b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE, V2_SIGNATURE + b"\x21\x11"):
        buffer = start + data
        try:
            found = read_proxy_header(buffer, expected)
        except ProxyError:
            continue
        if found is None:
            assert len(buffer) < V2_LIMIT + 16
        else:
            assert found.consumed <= len(buffer)


def test_what_is_decided_stays_decided_as_more_arrives() -> None:
    """A prefix is incomplete, or has the verdict of the whole: no split changes what a header means."""
    dice = random.Random(1)
    whole = [header + b"GET" for _, header, _, _ in ACCEPTED] + REFUSED_V1 + REFUSED_V2
    for expected in (V1, V2, AUTO):
        for data in whole:
            mutated = bytearray(data)
            mutated[dice.randrange(len(mutated))] ^= 1 << dice.randrange(8)
            for text in (data, bytes(mutated)):
                verdicts = [
                    v for end in range(len(text) + 1) if (v := verdict(text[:end], expected)) != "more"
                ]
                assert len(set(verdicts)) <= 1, (text, expected)


def verdict(data: bytes, expected: ProxyProtocol) -> str:
    try:
        found = read_proxy_header(data, expected)
    except ProxyError:
        return "refused"
    return "more" if found is None else repr(found)
