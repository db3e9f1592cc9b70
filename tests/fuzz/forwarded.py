"""Forwarding headers: an address or nothing, whatever they say, and no 64 KB of them cost much time."""

import time
from ipaddress import ip_address
from typing import Final

from hypothesis import strategies as st

from hsrv.common.request import Address, Headers
from hsrv.http.wire.forwarded import TrustedProxies
from tests.fuzz.targets import Target

SIZE: Final = 64 * 1024
"""Of all header fields together, by default."""

LIMIT: Final = 0.002
"""Seconds of CPU."""

PROXIES: Final = TrustedProxies(["127.0.0.1", "::1", "10.0.0.0/8", "unix"])
PEER: Final[Address] = ("127.0.0.1", 5000)

PARTS: Final = (
    b",", b";", b'"', b"\\", b"=", b" ", b"\t", b"%", b":", b"_", b"[", b"]", b".", b"a", b"\xff", b"for=", b"proto=",
    b"127.0.0.1", b"10.0.0.7", b"::1", b"::1%x", b"fe80::1%eth0", b"[::1]:80", b"6.6.6.6", b"https", b"a=b",
    b'for="[::1%x]"', b'for="', b"for=127.0.0.1", b'a="b,c"', b'a="\\,"',
)  # fmt: skip

_piece = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map(b"".join)
_values = st.builds(
    lambda pieces, filled: b"".join(
        piece * (SIZE // len(pieces) // len(piece) if filled else 1) for piece in pieces
    ),
    st.lists(_piece, min_size=1, max_size=4),
    st.booleans(),
)
_names = st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"])


def check(headers: Headers) -> None:
    client, scheme = PROXIES.resolve(PEER, "http", headers)
    assert scheme in ("http", "https")
    assert client is not None
    assert str(ip_address(client[0])) == client[0]
    assert "%" not in client[0]
    took = min(_seconds(headers) for _ in range(3))
    assert took <= LIMIT, f"{took * 1000:.2f} ms"


def _seconds(headers: Headers) -> float:
    """Of CPU, which others on this machine don't take."""
    began = time.thread_time()
    PROXIES.resolve(PEER, "http", headers)
    return time.thread_time() - began


TARGET = Target(
    "forwarded",
    st.lists(st.tuples(_names, _values), min_size=1, max_size=2),
    check,
    (
        [(b"forwarded", b'for="' + b"," * (SIZE - 5))],
        [(b"forwarded", b'a="b"' + b",a=b" * (SIZE // 4))],
        [(b"forwarded", b"for=127.0.0.1," * (SIZE // 14) + b"for=127.0.0.1")],
        [(b"forwarded", (b'a="' + b"," * 31 + b'",') * (SIZE // 35) + b"a=b")],
        [(b"forwarded", b"a=b;" * (SIZE // 4) + b"!")],
        [(b"x-forwarded-for", b"," * SIZE)],
        [(b"x-forwarded-for", b"127.0.0.1," * (SIZE // 10) + b"127.0.0.1")],
        [(b"x-forwarded-for", b":" * SIZE)],
        [(b"x-forwarded-for", b"::1%" + b"x" * SIZE)],
        [(b"x-forwarded-for", b'"' + b"\\1" * (SIZE // 2) + b'"'), (b"x-forwarded-proto", b"," * SIZE)],
    ),
)
