"""Differences between operating systems. Linux has all features; macOS does without some."""

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import Final

from hsrv.common.errors import PlatformError

_PR_SET_CHILD_SUBREAPER: Final = 36
_OOM_SCORE_ADJ_MAX: Final = 1000


def is_supported() -> bool:
    """Whether hsrv supports this system."""
    return sys.platform.startswith(("linux", "darwin"))


def check_supported() -> None:
    """Raises PlatformError if hsrv doesn't support this system."""
    if not is_supported():
        raise PlatformError(
            f"hsrv needs Linux (or macOS for development), not {sys.platform}: it passes sockets between "
            "processes. On Windows, run it in WSL or a container."
        )


def become_subreaper() -> bool:
    """Become the parent of orphaned descendants, so that the children of a killed template can still be reaped. False
    if the system doesn't support it (not Linux): then their death is only seen by the end of their control channels."""
    return _set_subreaper(True)


def be_no_subreaper() -> bool:
    """Undo `become_subreaper`: orphans become children of the next subreaper or init."""
    return _set_subreaper(False)


def go_first_when_memory_is_short(by: int) -> None:
    """Raise this process's oom_score_adj, which needs no privilege: the kernel kills it before its ancestors
    (proc(5))."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):  # not Linux, or /proc is not mounted
        path.write_text(str(min(_OOM_SCORE_ADJ_MAX, int(path.read_text()) + by)))


def _set_subreaper(on: bool) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0)


def return_free_memory() -> bool:
    """Return free memory of the C library's allocator to the kernel. False if it is not glibc.

    By itself glibc keeps a heap at its largest size if a small block at its end is in use.
    """
    library = ctypes.CDLL(None)
    return hasattr(library, "malloc_trim") and bool(library.malloc_trim(0))
