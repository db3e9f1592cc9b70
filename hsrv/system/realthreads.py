"""Threads of the operating system, even if the application has replaced Python's (gevent's `monkey.patch_all`).

The functions were taken from the standard library when this module was imported, before any application. Nothing here
uses `threading`, whose parts may be replaced at any time.
"""

from _thread import RLock, allocate_lock, get_ident, start_new_thread
from collections.abc import Callable
from typing import Final

__all__ = ["RLock", "RealThread", "get_ident"]


class RealThread:
    """A daemon thread that calls a function, with an event that ends its pauses."""

    def __init__(self, target: Callable[[], None]) -> None:
        self._target: Final = target
        self._told = allocate_lock()
        """Held until it is told to end."""
        self._over = allocate_lock()
        """Held while it runs."""

    def start(self) -> None:
        self._told.acquire()
        self._over.acquire()
        start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._target()
        finally:
            self._over.release()

    def pause(self, seconds: float) -> bool:
        """Called in the thread: wait. True: the thread must end."""
        told = self._told.acquire(timeout=seconds)
        if told:
            self._told.release()
        return told

    def end(self, timeout: float) -> None:
        """Tell it to end, and wait up to `timeout` seconds for it."""
        self._told.release()
        if self._over.acquire(timeout=timeout):
            self._over.release()
