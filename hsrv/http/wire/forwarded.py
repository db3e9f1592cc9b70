"""Which client it is when proxies are in between: X-Forwarded-For/-Proto and Forwarded (RFC 7239). Pure.

Promises: a field is believed only as far as trusted proxies wrote it. Each proxy appends what it saw, so the
list is read from its end: while the node that wrote an entry is trusted, the entry is true; the first that
names an untrusted node is the client, and what stands before it may be the client's invention. However long the
fields are, what is looked at is bounded: the rest counts as unreadable.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import Final

from hsrv.common.request import Address, Headers
from hsrv.http.wire.grammar import TOKEN

MAX_HOPS: Final = 32
"""Entries read at most. A client can name trusted proxies as often as a header has room."""

NODE_LIMIT: Final = 128
"""Bytes of a node identifier: an IPv6 address with brackets and port in quotes, each character escaped, has 110."""

LOOK_LIMIT: Final = 8192
"""Bytes of a Forwarded field that are matched in all. A comma may separate elements or stand in a quoted string, so one
place may be looked at several times."""

LOOK_COST: Final = 64
"""What each look counts beside its bytes."""

_FIELDS: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"})
_SCHEMES: Final = {b"http": "http", b"ws": "http", b"https": "https", b"wss": "https"}

_VALUE: Final = rb'(?:"(?:[^"\\]|\\.)*+"|' + TOKEN + rb")"
_PAIR: Final = TOKEN + rb"=" + _VALUE
_pairs: Final = re.compile(rb"(" + TOKEN + rb")=(" + _VALUE + rb")").findall
_is_element: Final = re.compile(_PAIR + rb"(?:[ \t]*+;[ \t]*+" + _PAIR + rb")*+;?+").fullmatch
_escaped: Final = re.compile(r"\\(.)")
_node: Final = re.compile(
    r"(?:\[(?P<bracketed>[^\]]+)\]|(?P<v4>[^:]+))(?::(?P<port>[0-9]{1,5}|_[\w.-]+))?"
).fullmatch

IPAddress = IPv4Address | IPv6Address
Hop = tuple[bytes, bytes]
"""What a proxy wrote about the node it was called by: identifier and scheme, b"" where it said nothing."""


class TrustedProxies:
    """The peers that may name a client by forwarding headers."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Entries: an address or CIDR network, "*" for all, "unix" for peers of Unix sockets.

        Raises ValueError(entry).
        """
        self._everybody = "*" in entries
        self._unix = "unix" in entries
        self._networks = [_network(entry) for entry in entries if entry not in ("*", "unix")]
        self._trusts_host = lru_cache(maxsize=1024)(self._find_host)

    def resolve(self, client: Address | None, scheme: str, headers: Headers) -> tuple[Address | None, str]:
        """The client and the scheme it used ("http" or "https").

        `client` and `scheme` are those of the connection: the answer where no trusted header says more.
        Port 0: the header gives none. A node that hides itself (RFC 7239 sections 6.2, 6.3) or can't be read
        ends the search: the answer is the last node before, which is a proxy.
        """
        fields: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in _FIELDS:
                fields.setdefault(name, []).append(value)
        if not fields or not self.trusts(client):
            return client, scheme
        for identifier, protocol in islice(_hops(fields), MAX_HOPS):
            address = _address(identifier) if identifier else None
            scheme = _SCHEMES.get(protocol.lower(), scheme)
            if address is None:
                break
            client = address
            if not self.trusts(client):
                break
        return client, scheme

    def trusts(self, node: Address | None) -> bool:
        """Whether what this node says is believed. None: the peer of a Unix socket."""
        if self._everybody:
            return True
        if node is None or node[1] is None:
            return self._unix
        return self._trusts_host(node[0])

    def _find_host(self, host: str) -> bool:
        address = _ip(host.partition("%")[0] if host.startswith("fe80:") else host)
        return address is not None and any(address in network for network in self._networks)


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        raise ValueError(entry) from None


def _ip(text: str) -> IPAddress | None:
    """The address; IPv4 also where a dual-stack socket shows it as ::ffff:a.b.c.d. None for one with a zone, which may
    be any text (RFC 4007 section 11.2), and means something on one machine only."""
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _hops(fields: dict[bytes, list[bytes]]) -> Iterator[Hop]:
    """From the nearest proxy's entry to the farthest."""
    if b"forwarded" in fields:
        return _forwarded(b",".join(fields[b"forwarded"]))
    return _x_forwarded(fields.get(b"x-forwarded-for", []), fields.get(b"x-forwarded-proto", []))


def _x_forwarded(nodes: list[bytes], schemes: list[bytes]) -> Iterator[Hop]:
    """Nearest first. A scheme belongs to the node of the same place only if there is one for each; else the
    nearest proxy's counts: most proxies replace that field instead of appending to it."""
    identifiers = _from_right(nodes)
    protocols = _from_right(schemes)
    if _length(schemes) != _length(nodes):
        protocols = protocols[:1] + [b""] * len(identifiers)
    return zip(identifiers or [b""], protocols or [b""], strict=False)


def _from_right(values: list[bytes]) -> list[bytes]:
    """The last MAX_HOPS entries, the last one first."""
    found: list[bytes] = []
    for value in reversed(values):
        room = MAX_HOPS - len(found)
        found += [part.strip(b" \t") for part in value.rsplit(b",", room)[: -room - 1 : -1]]
    return found


def _length(values: list[bytes]) -> int:
    """Entries in all."""
    return sum(value.count(b",") + 1 for value in values)


def _forwarded(value: bytes) -> Iterator[Hop]:
    """The elements of a Forwarded field. Ends before the first that is malformed.

    Each is found from the end: what a proxy appended stays readable, however the client had begun the field.
    """
    end = start = len(value)
    left = LOOK_LIMIT
    while start >= 0:
        start = value.rfind(b",", 0, start)
        left -= end - start + LOOK_COST
        if left < 0:
            return
        element = value[start + 1 : end].strip(b" \t")
        if not _is_element(element):
            continue  # the comma stands in a quoted string
        parameters = {name.lower(): content for name, content in _pairs(element)}
        yield parameters.get(b"for", b""), parameters.get(b"proto", b"").strip(b'"')
        end = start


def _address(identifier: bytes) -> Address | None:
    """The address of a node identifier (RFC 7239 section 6). None: unknown, hidden or malformed."""
    if len(identifier) > NODE_LIMIT:
        return None
    text = identifier.decode("latin-1")
    if text.startswith('"'):
        text = _escaped.sub(r"\1", text[1:-1])
    address = _ip(text)  # X-Forwarded-For has IPv6 without brackets
    if address is not None:
        return str(address), 0
    match = _node(text)
    address = _ip(match["bracketed"] or match["v4"]) if match else None
    if match is None or address is None:
        return None
    port = match["port"]
    return str(address), int(port) if port and port.isdigit() else 0
