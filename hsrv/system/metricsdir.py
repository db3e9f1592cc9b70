"""The directory in which prometheus-client stores the application's metrics, one file per process and kind.

Promises: no other user may enter it; no directory of another user is removed; it is removed when the last process of
its server ends, and the directory of a server that was killed is removed by the next server. Each process holds a lock
on it, which the kernel releases when the process ends.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that prometheus-client reads when it is first imported."""

SUFFIX: Final = ".metrics"

PRIVATE: Final = 0o700
"""The mode set by mkdtemp."""


def prepare(run_dir: Path | None, pid: int) -> tuple[Path, int]:
    """An empty directory for the server whose supervisor has this pid, locked by the descriptor; in the run directory
    if there is one. Raises OSError."""
    if run_dir is None:
        path = Path(tempfile.mkdtemp(prefix="hsrv-", suffix=SUFFIX))
        return path, hold(path)
    remove_stale(run_dir)
    path = run_dir / f"{pid}{SUFFIX}"
    if _is_ours(path):  # of an earlier server with the same pid
        remove(path)
    unheld = Path(tempfile.mkdtemp(dir=run_dir))  # a name that is never taken for stale
    try:
        fd = hold(unheld)
        unheld.rename(path)
    except OSError:
        remove(unheld)
        raise
    return path, fd


def hold(path: Path) -> int:
    """Lock it, so that it isn't taken for stale while the descriptor or a forked copy is open. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError:
        os.close(fd)
        raise
    return fd


def remove(path: Path) -> None:
    """Remove it with its contents. Never raises OSError."""
    shutil.rmtree(path, ignore_errors=True)


def remove_last(path: Path, fd: int) -> None:
    """Remove it, unless another process holds it: `fd` is of `hold`, and no process that lives has a copy of it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    remove(path)


def remove_stale(run_dir: Path) -> None:
    """Remove the directories of servers that were killed."""
    for path in run_dir.glob(f"*{SUFFIX}"):
        if path.stem.isdigit() and _is_ours(path) and not _is_held(path):
            remove(path)


def _is_ours(path: Path) -> bool:
    """Whether `prepare` can have created this directory."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and stat.S_IMODE(found.st_mode) == PRIVATE
        and found.st_uid == os.geteuid()
    )


def _is_held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True  # gone meanwhile, or of another user
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
