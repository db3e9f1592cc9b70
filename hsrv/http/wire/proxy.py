"""The PROXY protocol, versions 1 and 2: a proxy names the client before the first request. Pure.

Spec: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt. Promises: strict, so that a header that is taken
can be read in one way only; incremental, so that it may arrive in pieces of any size; bounded. Whose header is believed
is not decided here.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import msgspec

from hsrv.common.request import Address
from hsrv.common.terms import ProxyProtocol

V1_LIMIT: Final = 107
"""Bytes of a version 1 header with its CRLF (section 2.1)."""

V2_LIMIT: Final = 4096
"""Bytes after the fixed part of a version 2 header: addresses and TLVs. The format would permit 65,535."""

V1_SIGNATURE: Final = b"PROXY "
V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
V2_FIXED: Final = 16
"""Bytes: signature, version and command, family, length."""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21

_UNSPEC: Final = 0x00
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_UNIX: Final = 0x31
_ADDRESS_BYTES: Final = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}
"""By family and protocol (section 2.2). Those that are not here are no streams, or not defined."""

_PORT: Final = rb"(0|[1-9][0-9]{0,4})"
_tcp4: Final = re.compile(rb"PROXY TCP4 ([0-9.]{7,15}) ([0-9.]{7,15}) " + _PORT + rb" " + _PORT).fullmatch
_tcp6: Final = re.compile(
    rb"PROXY TCP6 ([0-9A-Fa-f:.]{2,45}) ([0-9A-Fa-f:.]{2,45}) " + _PORT + rb" " + _PORT
).fullmatch
_unknown: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?").fullmatch
_could_be_v1: Final = re.compile(
    rb"PROXY (?:U|UN|UNK.*|T|TC|TCP|TCP[46]|TCP[46] [0-9A-Fa-f:. ]*)?\r?", re.DOTALL
).fullmatch
"""What may stand before the CRLF has come: anything else is refused at once."""


class ProxyError(ValueError):
    """There is no header where one must be, or it is malformed."""


class ProxyHeader(msgspec.Struct, frozen=True):
    """What was found at the front of a connection."""

    consumed: int
    """Bytes. 0: there is no header, which `auto` permits."""
    client: Address | None = None
    """None: the connection's own addresses hold: the proxy speaks for itself (LOCAL) or can't tell (UNKNOWN)."""
    server: Address | None = None
    """Where the client connected to."""


ABSENT: Final = ProxyHeader(0)


def read_proxy_header(buffer: bytes | bytearray, expected: ProxyProtocol) -> ProxyHeader | None:
    """The header at the front of `buffer`; None as long as it is incomplete. Raises ProxyError."""
    if expected is not ProxyProtocol.V1 and _begins(buffer, V2_SIGNATURE):
        return _read_v2(buffer)
    if expected is not ProxyProtocol.V2 and _begins(buffer, V1_SIGNATURE):
        return _read_v1(buffer)
    if expected is ProxyProtocol.AUTO:
        return ABSENT
    raise ProxyError(f"no PROXY header of version {expected[1:]}")


def _begins(buffer: bytes | bytearray, signature: bytes) -> bool:
    """Whether the buffer begins with the signature, as far as it goes."""
    start = buffer[: len(signature)]
    return start == signature[: len(start)]


# version 1 (section 2.1)


def _read_v1(buffer: bytes | bytearray) -> ProxyHeader | None:
    end = buffer.find(b"\r\n", 0, V1_LIMIT)
    if end < 0:
        _wait_for_v1(buffer)
        return None
    line = bytes(buffer[:end])
    if _unknown(line):
        return ProxyHeader(end + 2)
    match = _tcp4(line) or _tcp6(line)
    if match is None:
        raise ProxyError("malformed PROXY header")
    kind = IPv4Address if line.startswith(b"PROXY TCP4") else IPv6Address
    return ProxyHeader(end + 2, _node(kind, match[1], match[3]), _node(kind, match[2], match[4]))


def _wait_for_v1(buffer: bytes | bytearray) -> None:
    if len(buffer) >= V1_LIMIT:
        raise ProxyError("PROXY header too long")
    if len(buffer) > len(V1_SIGNATURE) and not _could_be_v1(buffer):
        raise ProxyError("malformed PROXY header")


def _node(kind: type[IPv4Address] | type[IPv6Address], host: bytes, port: bytes) -> Address:
    try:
        address = kind(host.decode("ascii"))
    except ValueError:
        raise ProxyError("malformed address in a PROXY header") from None
    if b"%" in host:  # a zone may be any text
        raise ProxyError("malformed address in a PROXY header")
    if int(port) > 65535:
        raise ProxyError("malformed port in a PROXY header")
    return _plain(address), int(port)


def _plain(address: IPv4Address | IPv6Address) -> str:
    """IPv4 also where it is written as ::ffff:a.b.c.d: one client, one name."""
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)


# version 2 (section 2.2)


def _read_v2(buffer: bytes | bytearray) -> ProxyHeader | None:
    if len(buffer) > 12 and buffer[12] not in (_LOCAL, _PROXY):
        raise ProxyError("unknown version or command in a PROXY header")
    if len(buffer) < V2_FIXED:
        return None
    command, family = buffer[12], buffer[13]
    length = int.from_bytes(buffer[14:V2_FIXED], "big")
    if length > V2_LIMIT:
        raise ProxyError("PROXY header too long")
    if command == _PROXY:
        least = _ADDRESS_BYTES.get(family)
        if least is None:
            raise ProxyError("unknown address family or protocol in a PROXY header")
        if length < least:
            raise ProxyError("PROXY header too short for its addresses")
    end = V2_FIXED + length
    if len(buffer) < end:
        return None
    if command == _PROXY and family in (_TCP4, _TCP6):
        client, server = _v2_addresses(bytes(buffer[V2_FIXED:end]), family)
        return ProxyHeader(end, client, server)
    return ProxyHeader(end)  # a Unix socket of the proxy's machine names no client


def _v2_addresses(block: bytes, family: int) -> tuple[Address, Address]:
    """What follows the addresses are TLVs: skipped."""
    kind, size = (IPv4Address, 4) if family == _TCP4 else (IPv6Address, 16)
    ports = block[2 * size : 2 * size + 4]
    return (
        (_plain(kind(block[:size])), int.from_bytes(ports[:2], "big")),
        (_plain(kind(block[size : 2 * size])), int.from_bytes(ports[2:], "big")),
    )
