"""Work in threads that get no signals.

The kernel delivers a signal to any thread that doesn't block it. If a worker thread took one while the keeper
(`hsrv.supervisor.upgrade.keeper`) replaces the event loop, nobody would handle it: a stop would be lost.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from hsrv.supervisor.runtime.signals import handled

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: object, limiter: CapacityLimiter | None = None) -> T:
    """The result of `work(*args)`. A cancellation waits for its end."""
    return await to_thread.run_sync(_deaf, work, args, limiter=limiter)


@contextmanager
def deaf_threads() -> Iterator[None]:
    """Threads that are started in the block get no signals either."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handled())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _deaf(work: Callable[..., T], args: tuple[object, ...]) -> T:
    """The thread keeps the mask for its next work, and threads that it starts inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, handled())
    return work(*args)
