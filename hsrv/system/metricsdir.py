"""The directory in which prometheus-client keeps what the application counts, one file per process and kind.

Promises: nobody else may enter it; no directory of somebody else is removed; it outlives no process of its server,
however they end: whoever is the last removes it, and what a server that was killed has left is removed by the next one.
As long as a process lives it holds a lock on it, which the kernel lets go of at its end.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client looks, when it is imported first."""

SUFFIX: Final = ".metrics"

PRIVATE: Final = 0o700
"""The mode that mkdtemp gives."""


def prepare(run_dir: Path | None, pid: int) -> tuple[Path, int]:
    """An empty directory for the server whose supervisor has this pid, held by the descriptor; in the run directory,
    where it has one. Raises OSError."""
    if run_dir is None:
        path = Path(tempfile.mkdtemp(prefix="hsrv-", suffix=SUFFIX))
        return path, hold(path)
    remove_stale(run_dir)
    path = run_dir / f"{pid}{SUFFIX}"
    if _is_ours(path):  # of a server that had our pid before
        remove(path)
    unheld = Path(tempfile.mkdtemp(dir=run_dir))  # under a name that nobody takes for stale
    try:
        fd = hold(unheld)
        unheld.rename(path)
    except OSError:
        remove(unheld)
        raise
    return path, fd


def hold(path: Path) -> int:
    """Keep it from being taken for stale, as long as the descriptor or a forked copy of it is open. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError:
        os.close(fd)
        raise
    return fd


def remove(path: Path) -> None:
    """With all that is in it. Never raises OSError."""
    shutil.rmtree(path, ignore_errors=True)


def remove_stale(run_dir: Path) -> None:
    """What servers that were killed have left."""
    for path in run_dir.glob(f"*{SUFFIX}"):
        if path.stem.isdigit() and _is_ours(path) and not _is_held(path):
            remove(path)


def _is_ours(path: Path) -> bool:
    """Whether it is a directory that `prepare` can have made."""
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
        return True  # gone meanwhile, or none of ours
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
