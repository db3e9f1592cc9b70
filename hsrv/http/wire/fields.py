"""Header fields of an application: checked, sorted by what they mean to the framing, and made into lines. Pure.

Promises: nothing that could end a line early or start another (header injection) gets through, and no field
that is the server's to decide: Transfer-Encoding and the other hop-by-hop fields (RFC 9110 section 7.6.1).
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from hsrv.common.errors import AppError
from hsrv.http.wire.grammar import VALUE_BYTES, is_token

CRLF: Final = b"\r\n"

_CACHE_SIZE: Final = 1024
"""Names remembered as checked. Applications use few; one that makes them up must not fill the memory."""


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


NO_FIELDS: Final = Fields()
"""For a response that has not begun. Shared by all, and never written to."""

_Note = Callable[[Fields, object], bool]


def collect(headers: Iterable[Any]) -> Fields:
    """The fields of an ASGI message's `headers`. Raises AppError naming the first that is wrong."""
    try:
        pairs = headers if type(headers) is list else list(headers)
    except TypeError:
        raise AppError(f"headers must be an iterable of pairs, not {headers!r}") from None
    fields = Fields()
    parts: list[bytes] = []
    try:
        for name, value in pairs:
            prefix, note = _known.get(name) or _learn(name)
            if note is None or note(fields, value):
                parts += (prefix, value, CRLF)
        fields.lines = lines = b"".join(parts)
    except (TypeError, ValueError):
        raise AppError(_fault(pairs)) from None
    if lines.translate(None, VALUE_BYTES) != CRLF * (len(parts) // 3):
        raise AppError(_fault(pairs))
    return fields


def _learn(name: object) -> tuple[bytes, _Note | None]:
    """The entry of a name that was not seen before. Raises ValueError, TypeError."""
    if not isinstance(name, bytes) or is_token(name) is None:
        raise ValueError(name)
    lower = name.lower()
    entry = lower + b": ", _NOTES.get(lower)
    if len(_known) < _CACHE_SIZE:
        _known[name] = entry
    return entry


# the fields that mean something. True: the line is also sent as it is. Those that return False never reach
# the check of all lines in `collect`, so they check their value themselves. All raise ValueError, TypeError.


def _checked(value: object) -> bytes:
    if not isinstance(value, bytes) or value.translate(None, VALUE_BYTES):
        raise ValueError(value)
    return value


def _note_length(fields: Fields, value: object) -> bool:
    length = int(value) if isinstance(value, bytes) and value.isdigit() else -1
    if length < 0 or fields.content_length not in (None, length):
        raise ValueError(value)
    fields.content_length = length
    return False


def _note_type(fields: Fields, value: object) -> bool:
    if not isinstance(value, bytes):
        raise ValueError(value)
    fields.event_stream = value[:17].lower() == b"text/event-stream"
    return True


def _note_connection(fields: Fields, value: object) -> bool:
    fields.close |= b"close" in map(bytes.strip, _checked(value).lower().split(b","))
    return False


def _note_upgrade(fields: Fields, value: object) -> bool:
    fields.upgrade = b"upgrade: " + _checked(value) + CRLF
    return False


def _note_server(fields: Fields, value: object) -> bool:
    fields.has_server = True
    return True


def _note_date(fields: Fields, value: object) -> bool:
    fields.has_date = True
    return True


def _drop(fields: Fields, value: object) -> bool:
    _checked(value)
    return False


_NOTES: Final[dict[bytes, _Note]] = {
    b"content-length": _note_length,
    b"content-type": _note_type,
    b"connection": _note_connection,
    b"upgrade": _note_upgrade,
    b"server": _note_server,
    b"date": _note_date,
    b"transfer-encoding": _drop,
    b"keep-alive": _drop,
    b"proxy-connection": _drop,
    b"te": _drop,
}

_known: Final[dict[bytes, tuple[bytes, _Note | None]]] = {}
"""By name as the application writes it: its part of the line, and what takes note of it."""


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
