"""Work that takes long, beside a loop that must not wait.

A thread is not enough: Python's garbage collector stops all threads, for 100 ms and more when many thousand samples are
being made, and a probe must not wait for it.
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
"""Seconds after which the thread lets the loop run. With Python's usual 5 ms a probe, which needs the loop a few times,
would wait ten times as long."""


class BackgroundThread:
    """One piece of work at a time, in a thread."""

    def __init__(self) -> None:
        self._busy = anyio.Lock()
        sys.setswitchinterval(SWITCH_INTERVAL)

    async def run(self, work: Callable[[], T]) -> T:
        async with self._busy:
            with _no_collection():
                return await in_thread(work)


@contextmanager
def _no_collection() -> Iterator[None]:
    """What is made meanwhile goes when nobody refers to it any more, as almost everything does."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
