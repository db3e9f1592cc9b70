"""Where an event stream may end: after a whole event. Pure.

The bytes that end an event may lie across two messages, so the last bytes written (`tail`) count too.
"""

from typing import Any, Final

from hsrv.common.asgi import Message
from hsrv.http.wire.response import as_bytes

EVENT_BOUNDARIES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""What ends an event of text/event-stream (WHATWG HTML section 9.2.5)."""

TAIL_SIZE: Final = 4
"""Bytes of a stream that must be remembered: the longest boundary."""


def tail_of(tail: bytes, data: bytes) -> bytes:
    """The tail after `data` was written."""
    return (tail + data[-TAIL_SIZE:])[-TAIL_SIZE:]


def at_boundary(tail: bytes) -> bool:
    """Whether no event is begun."""
    return not tail or tail.endswith(EVENT_BOUNDARIES)


def cut_at_boundary(message: Message, tail: bytes) -> dict[str, Any]:
    """The part of a body message up to its first event boundary, as the last one; all of it if there is none."""
    body = as_bytes(message.get("body", b""))
    before = len(tail)
    window = tail + body
    ends = [
        at + len(mark)
        for mark in EVENT_BOUNDARIES
        if (at := window.find(mark, max(0, before - len(mark) + 1))) >= 0
    ]
    if not ends:
        return dict(message)
    return {"type": message["type"], "body": body[: min(ends) - before], "more_body": False}
