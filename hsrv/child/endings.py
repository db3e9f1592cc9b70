"""What Python does at the end of a process, for one that was forked and ends with `os._exit`.

Promises: functions of `atexit` run in every child, also those that were registered before the fork (exporters and log
handlers write what they still hold), for a bounded time; what was made before the fork is left to whoever made it.
"""

import atexit
import os
import signal
import sys
import weakref
from typing import Any, Final

from hsrv.logs.logging import get_logger
from hsrv.system.realthreads import RealThread, get_ident

LEAST: Final = 1.0
"""Seconds that exit functions have, however long the lifespan shutdown took."""

log = get_logger("hsrv.child")


def disown() -> None:
    """In a forked child, before anything else: temporary directories, pools and processes of the template are its."""
    registry: dict[Any, Any] = getattr(weakref.finalize, "_registry", {})
    for finalizer in list(registry):
        finalizer.atexit = False
    if (processes := sys.modules.get("multiprocessing.process")) is not None:
        vars(processes)["_children"] = set()
    os.register_at_fork(before=_hold_term, after_in_parent=_release_term, after_in_child=_be_terminable)


# a process that the application forks: we ignore TERM, and its `terminate()` would do nothing

_masks: Final[dict[int, set[int]]] = {}
"""What each thread that forks at present had blocked."""


def _hold_term() -> None:
    """Or one that comes at once would still be ignored."""
    _masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_term() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop(get_ident()))


def _be_terminable() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release_term()


# the end


def run_exit_functions(seconds: float, code: int) -> None:
    """Call those of `atexit`. After `seconds`, at least LEAST, the process ends with `code`, whatever they do."""
    guard = RealThread(lambda: _end_late(guard, max(LEAST, seconds), code))
    guard.start()
    _forget_processes()
    atexit._run_exitfuncs()  # says itself what one of them raises
    guard.end(LEAST)


def _forget_processes() -> None:
    """`multiprocessing` would wait for all processes that were started, for ever: the pools are ended, the others
    told, and whoever stays behind is the supervisor's matter."""
    if (util := sys.modules.get("multiprocessing.util")) is None:
        return
    atexit.unregister(vars(util)["_exit_function"])
    for process in sys.modules["multiprocessing.process"].active_children():
        process.terminate()
    atexit.register(vars(util)["_run_finalizers"])


def _end_late(guard: RealThread, seconds: float, code: int) -> None:
    if not guard.pause(seconds):
        log.error("exit functions timed out", timeout=seconds)
        os._exit(code)
