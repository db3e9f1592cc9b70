"""What differs between operating systems, in one place. Linux is the real one; macOS does without."""

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import Final

from hsrv.common.errors import PlatformError

_PR_SET_CHILD_SUBREAPER: Final = 36
_OOM_SCORE_ADJ_MAX: Final = 1000


def is_supported() -> bool:
    """Whether hsrv can work here."""
    return sys.platform.startswith(("linux", "darwin"))


def check_supported() -> None:
    """Raises PlatformError where hsrv can't work."""
    if not is_supported():
        raise PlatformError(
            f"hsrv needs Linux (or macOS for development), not {sys.platform}: it passes sockets between "
            "processes. On Windows, run it in WSL or a container."
        )


def become_subreaper() -> bool:
    """Adopt the orphans of our descendants, so that the children of a killed template are still ours to
    reap. False where the system can't (not Linux): then only the end of their control channels tells of
    their death."""
    return _set_subreaper(True)


def be_no_subreaper() -> bool:
    """Until `become_subreaper` is called again: an orphan becomes the child of whoever reaps above us."""
    return _set_subreaper(False)


def go_first_when_memory_is_short(by: int) -> None:
    """Raise our own oom_score_adj, which anybody may: the kernel then kills us before our ancestors (proc(5))."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):  # not Linux, or /proc is not mounted
        path.write_text(str(min(_OOM_SCORE_ADJ_MAX, int(path.read_text()) + by)))


def _set_subreaper(on: bool) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0)


def return_free_memory() -> bool:
    """Give the kernel back what the C library's allocator keeps. False where it is not glibc's.

    By itself it keeps a heap as long as it once was, if anything small is in use at its end.
    """
    library = ctypes.CDLL(None)
    return hasattr(library, "malloc_trim") and bool(library.malloc_trim(0))
