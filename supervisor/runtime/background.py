"""Long work in a thread, beside a loop that must not wait.

A thread alone is not enough: Python's garbage collector stops all threads, for 100 ms and more while many thousand
samples are created, and a probe must not wait for that.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import anyio

from hsrv.supervisor.runtime.threads import in_thread

T = TypeVar("T")

SWITCH_INTERVAL: Final = 0.0005
"""Seconds after which the thread gives the GIL to the loop. With Python's default of 5 ms a probe, which needs several
turns of the loop, would wait ten times as long."""


class BackgroundThread:
    """Runs one piece of work at a time, in a thread."""

    def __init__(self) -> None:
        self._busy = anyio.Lock()
        sys.setswitchinterval(SWITCH_INTERVAL)

    async def run(self, work: Callable[[], T]) -> T:
        async with self._busy:
            with _no_collection():
                return await in_thread(work)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Almost all objects created meanwhile are freed by their reference count."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
