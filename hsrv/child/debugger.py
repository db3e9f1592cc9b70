"""`breakpoint()` in a worker or pool that has a terminal, and Ctrl-C there.

Ctrl-C goes to every process of the terminal, and means that the server must stop. Promises: a debugger that has been
left (`c`) does not handle it and prompt again; one at its prompt ends as if it had read end-of-file. So the code that
it stopped continues.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Final

DEBUGGERS: Final = ("bdb", "pdb")
"""Modules on the stack of a thread that waits at a prompt: other debuggers are based on them."""


def has_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def prepare() -> None:
    """Call once, before forking processes that may reach a breakpoint. Without a terminal there is no debugging."""
    if has_terminal():
        import pdb  # noqa: PLC0415  # slow to import

        pdb.Pdb.nosigint = property(lambda _: True, lambda _, value: None)  # type: ignore[attr-defined]  # set on instances


def heed_interrupts() -> None:
    """Call in the process that may reach a breakpoint."""
    if has_terminal():
        signal.signal(signal.SIGINT, _on_interrupt)


def _on_interrupt(signum: int, frame: FrameType | None) -> None:
    """The supervisor handles Ctrl-C, but a thread at a prompt would not notice."""
    held = [ident for ident, top in sys._current_frames().items() if _is_debugging(top)]
    if not held:
        return
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for ident in held:
        if ident != threading.get_ident():
            signal.pthread_kill(ident, signal.SIGUSR1)  # only wakes it: it reads again and finds end-of-file


def _is_debugging(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") in DEBUGGERS:
            return True
        frame = frame.f_back
    return False
