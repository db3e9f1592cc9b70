"""An awaitable whose steps run without a lock that everything between them holds.

The loop's thread holds the lock of its process all the time but for the steps of application calls. So another thread
that gets it knows that no code of ours is in the middle of anything.
"""

from collections.abc import Awaitable, Iterator
from typing import Any, Protocol, Self


class Lock(Protocol):
    """What is used of a `threading.RLock`."""

    def acquire(self) -> bool: ...
    def release(self) -> None: ...


class Steps:
    """Awaits `inner`, and lets go of `turn` during each of its steps."""

    __slots__ = ("_iterator", "_turn", "inner")

    def __init__(self, inner: Awaitable[Any], turn: Lock) -> None:
        self.inner = inner
        """For whoever follows what a task waits for."""
        self._iterator: Iterator[Any] = inner.__await__()
        self._turn = turn

    def __await__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        turn = self._turn
        turn.release()
        try:
            return next(self._iterator)
        finally:
            turn.acquire()

    def send(self, value: Any) -> Any:
        return self._step("send", value)

    def throw(self, *error: Any) -> Any:
        return self._step("throw", *error)

    def close(self) -> None:
        self._step("close")

    def _step(self, method: str, *arguments: Any) -> Any:
        """What an iterator need not have, a coroutine's has."""
        self._turn.release()
        try:
            return getattr(self._iterator, method)(*arguments)
        finally:
            self._turn.acquire()
