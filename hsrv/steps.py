"""A lock that is free while an application runs, and held by the loop's thread at any other time.

So another thread that gets it knows that no code of ours is in the middle of anything. The first step of a call runs on
the stack of `HTTPConnection._run`, which lets go of the lock around it. Most calls end there; only what waits pays for
a wrapper around its further steps.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Self


class Lock(Protocol):
    """What is used of a `threading.RLock`."""

    def acquire(self) -> bool: ...
    def release(self) -> None: ...


class LaterSteps:
    """Awaits the rest of a call: it has begun, and waits for `first`."""

    __slots__ = ("_begun", "_first", "_turn", "inner")

    def __init__(self, inner: Coroutine[Any, Any, Any], first: Any, turn: Lock) -> None:
        self.inner = inner
        """For whoever follows what a task waits for."""
        self._first = first
        self._begun = False
        self._turn = turn

    def __await__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        if not self._begun:
            self._begun = True
            first, self._first = self._first, None
            return first
        return self._step(self.inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self.inner.throw, *error)

    def close(self) -> None:
        self._step(self.inner.close)

    def _step(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self._turn.release()
        try:
            return method(*arguments)
        finally:
            self._turn.acquire()
