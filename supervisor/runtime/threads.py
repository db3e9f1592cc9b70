"""Work in threads that hear no signals.

The kernel gives a signal to any thread that doesn't block it. One that a worker thread took while the loop's own end
was being set up for a keeper (`hsrv.supervisor.upgrade.keeper`) would be heard by nobody: a stop that never comes.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from hsrv.supervisor.runtime.signals import handled

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: object, limiter: CapacityLimiter | None = None) -> T:
    """What `work(*args)` returns. A cancellation waits for it."""
    return await to_thread.run_sync(_deaf, work, args, limiter=limiter)


@contextmanager
def deaf_threads() -> Iterator[None]:
    """Threads that are started meanwhile hear none either."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handled())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _deaf(work: Callable[..., T], args: tuple[object, ...]) -> T:
    """The thread stays so for the next work, and what it starts inherits it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, handled())
    return work(*args)
