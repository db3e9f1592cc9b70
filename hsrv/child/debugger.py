"""`breakpoint()` in a worker or pool that has a terminal, and Ctrl-C there.

Ctrl-C goes to every process at the terminal, and means that the server is to stop. Promises: a debugger that has been
left again (`c`) does not take it for itself, and come back with a prompt; one that stands at its prompt ends as if it
had read the end of its input. So whatever it held up goes on to its end.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Final

DEBUGGERS: Final = ("bdb", "pdb")
"""Modules of which there is something on the stack of a thread that stands at a prompt: others build on them."""


def has_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def prepare() -> None:
    """Once, before the processes are forked that may meet a breakpoint. Without a terminal nobody can debug."""
    if has_terminal():
        import pdb  # noqa: PLC0415  # takes its time

        pdb.Pdb.nosigint = property(lambda _: True, lambda _, value: None)  # type: ignore[attr-defined]  # of its objects


def heed_interrupts() -> None:
    """In the process that may meet a breakpoint."""
    if has_terminal():
        signal.signal(signal.SIGINT, _on_interrupt)


def _on_interrupt(signum: int, frame: FrameType | None) -> None:
    """The supervisor's matter, but for a prompt: who waits there hears nothing of it."""
    held = [ident for ident, top in sys._current_frames().items() if _is_debugging(top)]
    if not held:
        return
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for ident in held:
        if ident != threading.get_ident():
            signal.pthread_kill(
                ident, signal.SIGUSR1
            )  # nothing but to wake it: it looks again, and finds the end


def _is_debugging(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") in DEBUGGERS:
            return True
        frame = frame.f_back
    return False
