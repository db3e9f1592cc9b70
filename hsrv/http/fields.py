"""Header fields of an application: checked, sorted by what they mean to the framing, and made into lines.

Promises: nothing that could end a line early or start another (header injection) gets through, and no field
that is the server's to decide: Transfer-Encoding and the other hop-by-hop fields (RFC 9110 section 7.6.1).
"""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Any, Final

from hsrv.errors import AppError
from hsrv.http.grammar import VALUE_BYTES, is_token

CRLF: Final = b"\r\n"

_CACHE_SIZE: Final = 1024
"""Names remembered as checked. Applications use few; one that makes them up must not fill the memory."""


class _Meaning(Enum):
    PLAIN = auto()
    CONTENT_LENGTH = auto()
    CONTENT_TYPE = auto()
    CONNECTION = auto()
    UPGRADE = auto()
    SERVER = auto()
    DATE = auto()
    DROPPED = auto()


_MEANINGS: Final = {
    b"content-length": _Meaning.CONTENT_LENGTH,
    b"content-type": _Meaning.CONTENT_TYPE,
    b"connection": _Meaning.CONNECTION,
    b"upgrade": _Meaning.UPGRADE,
    b"server": _Meaning.SERVER,
    b"date": _Meaning.DATE,
    b"transfer-encoding": _Meaning.DROPPED,
    b"keep-alive": _Meaning.DROPPED,
    b"proxy-connection": _Meaning.DROPPED,
    b"te": _Meaning.DROPPED,
}

_known: Final[dict[bytes, tuple[bytes, _Meaning]]] = {}
"""By name as the application writes it: its part of the line, and what it means."""


class Fields:
    """The fields of one response, or of its trailer section."""

    __slots__ = ("close", "content_length", "event_stream", "has_date", "has_server", "lines", "upgrade")

    def __init__(self) -> None:
        self.lines = b""
        """All fields but those that the server writes itself, each with its CRLF."""
        self.content_length: int | None = None
        self.event_stream = False
        self.close = False
        """`Connection: close` was given."""
        self.has_server = False
        self.has_date = False
        self.upgrade = b""
        """The line of Upgrade; for a 426, which must have one (RFC 9110 section 15.5.22)."""


def collect(headers: Iterable[Any]) -> Fields:
    """The fields of an ASGI message's `headers`. Raises AppError naming the first that is wrong."""
    pairs: list[Any] = list(headers)
    fields = Fields()
    parts: list[bytes] = []
    try:
        for name, value in pairs:
            prefix, meaning = _known.get(name) or _learn(name)
            if meaning is _Meaning.PLAIN or _take_note(fields, meaning, prefix, value):
                parts += (prefix, value, CRLF)
        fields.lines = b"".join(parts)
    except (TypeError, ValueError):
        raise AppError(_fault(pairs)) from None
    if fields.lines.translate(None, VALUE_BYTES) != CRLF * (len(parts) // 3):
        raise AppError(_fault(pairs))
    return fields


def _learn(name: object) -> tuple[bytes, _Meaning]:
    """The entry of a name that was not seen before. Raises ValueError, TypeError."""
    if not isinstance(name, bytes) or is_token(name) is None:
        raise ValueError(name)
    lower = name.lower()
    entry = lower + b": ", _MEANINGS.get(lower, _Meaning.PLAIN)
    if len(_known) < _CACHE_SIZE:
        _known[name] = entry
    return entry


def _take_note(fields: Fields, meaning: _Meaning, prefix: bytes, value: object) -> bool:
    """Keep what the field means. True: it is also sent as it is. Raises ValueError, TypeError."""
    if not isinstance(value, bytes) or value.translate(None, VALUE_BYTES):
        raise ValueError(value)
    match meaning:
        case _Meaning.CONTENT_LENGTH:
            fields.content_length = _content_length(fields.content_length, value)
        case _Meaning.CONTENT_TYPE:
            fields.event_stream = value.lower().startswith(b"text/event-stream")
        case _Meaning.CONNECTION:
            fields.close |= b"close" in map(bytes.strip, value.lower().split(b","))
        case _Meaning.UPGRADE:
            fields.upgrade = prefix + value + CRLF
        case _Meaning.SERVER:
            fields.has_server = True
        case _Meaning.DATE:
            fields.has_date = True
    return meaning in _SENT


_SENT: Final = frozenset({_Meaning.CONTENT_TYPE, _Meaning.SERVER, _Meaning.DATE})


def _content_length(before: int | None, value: bytes) -> int:
    if not value.isdigit() or before not in (None, int(value)):
        raise ValueError(value)
    return int(value)


def _fault(pairs: list[Any]) -> str:
    """Which header is wrong, and how."""
    lengths = set()
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return f"a header must be a pair of byte strings, not {pair!r}"
        name, value = pair
        for part in pair:
            if not isinstance(part, bytes):
                return (
                    f"header names and values must be bytes, not {type(part).__name__}: {name!r}: {value!r}"
                )
        if is_token(name) is None:
            return f"invalid header name {name!r}"
        if value.translate(None, VALUE_BYTES):
            return f"control character in header {name!r}: {value!r}"
        if name.lower() == b"content-length":
            lengths.add(value)
    return f"invalid or contradictory content-length: {sorted(lengths)!r}"
