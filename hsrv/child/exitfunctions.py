"""Python's exit functions, for a forked process that ends with `os._exit`.

Promises: `atexit` functions run in every child, also those registered before the fork (exporters and log handlers flush
their buffers), for a bounded time; objects created before the fork are left to the template.
"""

import atexit
import os
import signal
import sys
import weakref
from contextlib import suppress
from typing import Any, Final

from hsrv.logs import output
from hsrv.logs.logging import get_logger, tell_lost
from hsrv.system.realthreads import RealThread, get_ident

LEAST: Final = 1.0
"""Seconds that exit functions have, however long the lifespan shutdown took."""

log = get_logger("hsrv.child")


def disown() -> None:
    """In a forked child, before anything else: temporary directories, pools and processes belong to the template."""
    registry: dict[Any, Any] = getattr(weakref.finalize, "_registry", {})
    for finalizer in list(registry):
        finalizer.atexit = False
    if (processes := sys.modules.get("multiprocessing.process")) is not None:
        vars(processes)["_children"] = set()
    os.register_at_fork(before=_hold_term, after_in_parent=_release_term, after_in_child=_be_terminable)


# a process that the application forks: it would inherit the ignored TERM, and `terminate()` would do nothing

_masks: Final[dict[int, set[int]]] = {}
"""The signal mask of each thread that is forking."""


def _hold_term() -> None:
    """Block TERM: one that arrives right after the fork would still be ignored."""
    _masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_term() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop(get_ident()))


def _be_terminable() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release_term()


# the end


def run_exit_functions(seconds: float, code: int) -> None:
    """Call the `atexit` functions. After `seconds`, at least LEAST, the process exits with `code` in any case."""
    guard = RealThread(lambda: _end_late(guard, max(LEAST, seconds), code))
    guard.start()
    _forget_processes()
    atexit._run_exitfuncs()  # reports exceptions itself
    guard.end(LEAST)


def _forget_processes() -> None:
    """`multiprocessing` would wait forever for all processes that were started: end pools, terminate the others, and
    leave the rest to the supervisor."""
    if (util := sys.modules.get("multiprocessing.util")) is None:
        return
    atexit.unregister(vars(util)["_exit_function"])
    for process in sys.modules["multiprocessing.process"].active_children():
        process.terminate()
    atexit.register(vars(util)["_run_finalizers"])


def _end_late(guard: RealThread, seconds: float, code: int) -> None:
    if not guard.pause(seconds):
        log.error("exit functions timed out", timeout=seconds)
        writer = RealThread(_write_out)  # the thread that hangs may hold the stream's lock
        writer.start()
        writer.end(output.FLUSH_TIMEOUT)
        os._exit(code)


def _write_out() -> None:
    """Write what is buffered. `output.flush` is for the main thread, which hangs."""
    tell_lost()
    for stream in (sys.stdout, sys.stderr):
        with suppress(
            OSError, ValueError, AttributeError
        ):  # closed, without a reader, or replaced by another object
            stream.flush()
