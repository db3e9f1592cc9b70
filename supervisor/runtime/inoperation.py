"""The log says of which operation something is part: a reload, an upgrade, a replacement."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars

FIELD: Final = "reload_id"
"""Of a line, and of the context that a command takes along."""


@contextmanager
def in_operation(operation: str) -> Iterator[None]:
    """While it lasts, lines and commands carry this id; none for "", whatever was under way around it."""
    before = get_contextvars().get(FIELD)
    _set(operation)
    try:
        yield
    finally:
        _set(before)


def _set(operation: object) -> None:
    if operation:
        bind_contextvars(**{FIELD: operation})
    else:
        unbind_contextvars(FIELD)


def log_context(operation: str) -> dict[str, str]:
    """The same for the log of a process that is started as part of it."""
    return {FIELD: operation} if operation else {}
