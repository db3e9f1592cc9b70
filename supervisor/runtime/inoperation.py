"""The id of an operation in the log context: of a reload, an upgrade, a replacement."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars

FIELD: Final = "reload_id"
"""Field of log lines, and of the context that is sent with a command."""


@contextmanager
def in_operation(operation: str) -> Iterator[None]:
    """Log lines and commands in the block carry this id; with "" they carry none, even inside another operation."""
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
    """The same for the log of a process that is started by the operation."""
    return {FIELD: operation} if operation else {}
