"""WebSocket at the wire: frames in, frames out, in the order of the families of Autobahn's cases. RFC 6455 and 7692.

The frames are made and read here, by hand: with nothing of what the server uses.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"

Out = tuple[int, bytes]
"""A whole message or control frame that comes back: opcode and payload, inflated."""


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, size: int = 0
) -> bytes:
    """A frame of a client. `size`: bytes of the length field where not the shortest (1, 2 or 8)."""
    length = len(payload)
    size = size or (1 if length < 126 else 2 if length < 65536 else 8)
    bit = 0x80 if masked else 0
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if size == 1:
        head += bytes([bit | length])
    else:
        head += bytes([bit | (126 if size == 2 else 127)]) + length.to_bytes(size, "big")
    return head + MASK + xor(payload) if masked else head + payload


def xor(data: bytes) -> bytes:
    key = (MASK * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


@dataclass(frozen=True)
class Case:
    name: str
    rfc: str
    """Section of RFC 6455."""
    first: bytes
    """What the client sends first."""
    out: tuple[Out, ...]
    """What comes back of it."""
    then: bytes
    """What it sends when that has come; a close frame comes back, and nothing else."""
    code: int | None = 1000
    """Of the close frame; None: it has none."""


def echoed(name: str, rfc: str, data: bytes, *out: Out) -> Case:
    """The connection is as good as before, and closed by the client."""
    return Case(name, rfc, data, out, close())


def failed(name: str, rfc: str, data: bytes, *, good: bool = False, code: int = 1002) -> Case:
    """The server fails the connection: what comes behind is not interpreted. `good`: a message comes before."""
    first, out = (frame(TEXT, b"good"), ((TEXT, b"good"),)) if good else (b"", ())
    return Case(name, rfc, first, out, data + frame(TEXT, b"canary") + frame(PING, b"canary"), code)


def closed(name: str, data: bytes, code: int | None = 1000) -> Case:
    """The client closes; what comes behind is not interpreted."""
    late = frame(TEXT, b"late") + frame(PING, b"late") + close(1001)
    return Case(name, "5.5.1", b"", (), data + late, code)


def _messages() -> Iterator[Case]:
    for opcode, name in ((TEXT, "text"), (BINARY, "binary")):
        for size in (0, 125, 126, 127, 128, 65535, 65536):
            payload = (b"*" if opcode == TEXT else b"\xfe") * size
            yield echoed(f"1 {name} of {size}", "5.2", frame(opcode, payload), (opcode, payload))
    yield echoed("1 length longer than need be", "5.2", frame(TEXT, b"a", size=1), (TEXT, b"a"))
    yield failed("1 not masked", "5.1", frame(TEXT, b"a", masked=False))
    yield failed("1 length of 64 bits with the first set", "5.2", b"\x81\xff" + b"\xff" * 8 + MASK)


def _pings() -> Iterator[Case]:
    for payload in (b"", b"Hello", b"\x00\xff\xfe\xfd", b"\xfe" * 125):
        yield echoed(
            f"2 ping of {len(payload)}, {payload[:5]!r}", "5.5.2", frame(PING, payload), (PONG, payload)
        )
    yield failed("2 ping of 126", "5.5", frame(PING, b"\xfe" * 126))
    yield echoed("2 pong that nobody asked for", "5.5.3", frame(PONG) + frame(PONG, b"x"))
    several = [b"payload-%d" % number for number in range(10)]
    yield echoed(
        "2 pong, then ten pings",
        "5.5.2",
        frame(PONG, b"x") + b"".join(frame(PING, payload) for payload in several),
        *((PONG, payload) for payload in several),
    )


def _reserved_bits() -> Iterator[Case]:
    for rsv in range(1, 8):
        yield failed(f"3 text with reserved bits {rsv:03b}", "5.2", frame(TEXT, b"bad", rsv=rsv))
        yield failed(f"3 good, then {rsv:03b}", "5.2", frame(TEXT, b"bad", rsv=rsv), good=True)
        yield failed(f"3 ping with {rsv:03b}", "5.2", frame(PING, b"bad", rsv=rsv), good=True)
        yield failed(f"3 close with {rsv:03b}", "5.2", frame(CLOSE, b"", rsv=rsv))


def _opcodes() -> Iterator[Case]:
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield failed(f"4 opcode {opcode}", "5.2", frame(opcode))
        yield failed(
            f"4 good, then opcode {opcode}",
            "5.2",
            frame(opcode, b"x"),
            good=True,
        )


def _fragments() -> Iterator[Case]:
    one, two = frame(TEXT, b"one", fin=False), frame(CONTINUATION, b"two")
    middle = frame(CONTINUATION, b"+", fin=False)
    for opcode in (PING, PONG, CLOSE):
        yield failed(
            f"5 control frame {opcode} in fragments",
            "5.5",
            frame(opcode, b"", fin=False) + frame(CONTINUATION),
        )
    yield echoed("5 text in two", "5.4", one + two, (TEXT, b"onetwo"))
    yield echoed("5 text in many", "5.4", one + middle * 50 + two, (TEXT, b"one" + b"+" * 50 + b"two"))
    yield echoed("5 ping between", "5.4", one + frame(PING, b"p") + two, (PONG, b"p"), (TEXT, b"onetwo"))
    yield echoed(
        "5 pings between many",
        "5.4",
        one + frame(PING, b"1") + middle + frame(PING, b"2") + two,
        (PONG, b"1"),
        (PONG, b"2"),
        (TEXT, b"one+two"),
    )
    yield echoed(
        "5 empty fragments",
        "5.4",
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION),
        (TEXT, b""),
    )
    yield echoed(
        "5 all empty but the middle",
        "5.4",
        frame(BINARY, fin=False) + middle + frame(CONTINUATION),
        (BINARY, b"+"),
    )
    for fin in (True, False):
        lone = frame(CONTINUATION, b"lone", fin=fin)
        yield failed(f"5 continuation of nothing, fin {fin}", "5.4", lone)
        yield failed(
            f"5 continuation after a whole message, fin {fin}",
            "5.4",
            lone,
            good=True,
        )
    for opcode in (TEXT, BINARY):
        yield failed(f"5 opcode {opcode} within a message", "5.4", one + frame(opcode, b"x"))


VALID_TEXTS = (
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\uffff",
    "\ufffe",
    "\U00010000",
    "\U0010ffff",
    "\U0001fffe",
    "\ufeff",
)
INVALID_TEXTS = (
    b"\x80",
    b"\xbf",
    b"\x80\xbf" * 3,
    b"\xc0 ",
    b"\xe0 ",
    b"\xf0 ",
    b"\xf8 ",
    b"\xfc ",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xed\xaf\xbf",
    b"\xed\xb0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xfb\xbf\xbf\xbf\xbf",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
)
INCOMPLETE_TEXTS = (b"\xc3", b"\xe2\x82", b"\xe2", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xf0")


def _utf8() -> Iterator[Case]:
    for text in VALID_TEXTS:
        data = text.encode()
        yield echoed(f"6 text {text!r}", "5.6", frame(TEXT, data), (TEXT, data))
        pieces = [frame(CONTINUATION, data[at : at + 1], fin=False) for at in range(len(data))]
        yield echoed(
            f"6 text {text!r}, each byte a fragment",
            "5.6",
            frame(TEXT, fin=False) + b"".join(pieces) + frame(CONTINUATION),
            (TEXT, data),
        )
    for data in INVALID_TEXTS:
        yield failed(f"6 text {data!r}", "8.1", frame(TEXT, b"a" + data), code=1007)
        yield failed(
            f"6 text {data!r} in a fragment that never ends", "8.1", frame(TEXT, data, fin=False), code=1007
        )
        yield echoed(f"6 binary {data!r}", "5.6", frame(BINARY, data), (BINARY, data))
    for data in INCOMPLETE_TEXTS:
        yield failed(f"6 text that ends within a character, {data!r}", "8.1", frame(TEXT, data), code=1007)
        yield failed(
            f"6 the same in fragments, {data!r}",
            "8.1",
            frame(TEXT, b"x", fin=False) + frame(CONTINUATION, data),
            code=1007,
        )


def _closes() -> Iterator[Case]:
    yield closed("7 close without code", close(None), None)
    yield closed("7 close", close())
    yield closed("7 close within a message", frame(TEXT, b"a", fin=False) + close())
    yield failed("7 close with one byte", "5.5.1", frame(CLOSE, b"\x03"))
    yield closed("7 reason of 123 bytes", close(1000, b"*" * 123))
    yield failed("7 reason of 124 bytes", "5.5", close(1000, b"*" * 124))
    yield failed("7 reason that is no UTF-8", "8.1", close(1000, b"\xce\xba\xed\xa0\x80"), code=1007)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield closed(f"7 code {code}", close(code, b"why"), code)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield failed(f"7 code {code}", "7.4", close(code, b"why"))


def in_fragments(opcode: int, payload: bytes, size: int) -> bytes:
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if number else opcode, part, fin=number == last)
        for number, part in enumerate(parts)
    )


def _large() -> Iterator[Case]:
    dice = random.Random(9)
    for size, piece in ((1 << 18, 1 << 18), (1 << 20, 1 << 16), (1 << 20, 256), (4 << 20, 4 << 20)):
        data = dice.randbytes(size)
        name = f"9 {size} bytes in fragments of {piece}"
        yield echoed(name, "5.4", in_fragments(BINARY, data, piece), (BINARY, data))
    text = ("κόσμε " * 100_000).encode()
    yield echoed("9 a long text", "5.6", in_fragments(TEXT, text, 1301), (TEXT, text))
    yield echoed(
        "10 65,536 bytes in fragments of 1,300",
        "5.4",
        in_fragments(TEXT, b"*" * 65536, 1300),
        (TEXT, b"*" * 65536),
    )


CASES = tuple(
    itertools.chain(
        _messages(), _pings(), _reserved_bits(), _opcodes(), _fragments(), _utf8(), _closes(), _large()
    )
)

OFFERS = (
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=15; client_max_window_bits=15",
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=8, permessage-deflate",
)
"""Families 12 and 13: what clients ask for (RFC 7692 section 7.1)."""

SIZES = (0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)
