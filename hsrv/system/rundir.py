"""The operator socket of a running server: its path, and how a command finds it.

One socket per server, named after the supervisor's pid, in a directory that only its user may enter. A directory given
by --run-dir may be any: in it, only sockets of the own user are trusted or removed.
"""

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hsrv.common.errors import BindError

SUFFIX: Final = ".sock"

PATH_LIMIT: Final = 103
"""Bytes of a socket's path (unix(7): 108 on Linux, 104 on macOS, one of them for the end)."""

PROBE_TIMEOUT: Final = 1.0
"""Seconds to find out whether a server still listens."""


SYSTEM: Final = Path("/run")
"""Only root may create directories there."""


def default_run_dir() -> Path:
    """$XDG_RUNTIME_DIR/hsrv; without it /run/hsrv for root; for others the directory that root created for them
    (`make_for`), or one below /tmp."""
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "hsrv"
    if os.geteuid() == 0 and SYSTEM.is_dir():
        return SYSTEM / "hsrv"
    made = _made_for(os.geteuid())
    return made if made.is_dir() else Path(tempfile.gettempdir()) / f"hsrv-{os.geteuid()}"


def _made_for(uid: int) -> Path:
    return SYSTEM / f"hsrv-{uid}"


def make_for(run_dir: str | None, uid: int, gid: int) -> None:
    """As root, before switching to this user: create the directory that `prepare` will use. An existing one is left as
    it is. Raises BindError when `run_dir` can't be created."""
    path = Path(run_dir) if run_dir is not None else _made_for(uid)
    try:
        path.mkdir(mode=0o700, parents=run_dir is not None)
        try:
            os.chown(path, uid, gid, follow_symlinks=False)
        except OSError:
            path.rmdir()
            raise
    except FileExistsError:
        return
    except OSError as error:
        if run_dir is not None:
            raise BindError(f"--run-dir {path}: {error.strerror or error}") from error


def prepare(run_dir: str | None) -> Path:
    """The directory, created if missing. Raises BindError when it can't be created or isn't safe to use."""
    path = Path(run_dir) if run_dir is not None else default_run_dir()
    where = f"--run-dir {path}"
    try:
        path.mkdir(mode=0o700, parents=run_dir is not None, exist_ok=True)
        found = path.stat() if run_dir is not None else path.lstat()
    except OSError as error:
        raise BindError(f"{where}: {error.strerror or error}") from error
    if not stat.S_ISDIR(found.st_mode):  # a link in a default place too: its owner could redirect it
        raise BindError(f"{where}: not a directory")
    if run_dir is None and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
        raise BindError(f"{where}: belongs to another user, or others may enter it; give another one")
    if not os.access(path, os.W_OK | os.X_OK):
        raise BindError(f"{where}: no permission to create files there")
    return path


def exposure(path: Path) -> str:
    """Why other users may create or remove files in this directory; "" when they may not. Raises OSError."""
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {found.st_uid}"
    if found.st_mode & stat.S_IWOTH:
        return "all users may write to it"
    if found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid():
        return f"group {found.st_gid} may write to it"
    return ""


def socket_path(run_dir: Path, pid: int) -> Path:
    """The socket of the server whose supervisor has this pid. Raises BindError when the path is too long."""
    path = (run_dir / f"{pid}{SUFFIX}").absolute()
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise BindError(
            f"--run-dir {run_dir}: the path is too long for a Unix socket (limit {PATH_LIMIT} bytes)"
        )
    return path


def candidates(run_dir: str | None) -> list[Path]:
    """Every existing operator socket, also of servers that have ended. Root sees those of all users."""
    if run_dir is not None:
        folders = [Path(run_dir)]
    else:
        folders = [folder for folder, uid in _usual_places() if _belongs_to(folder, uid)]
    found = (path for folder in dict.fromkeys(folders) for path in _sockets(folder))
    return sorted(found, key=lambda path: (str(path.parent), pid_of(path)))


def _usual_places() -> Iterator[tuple[Path, int]]:
    """Default directories, each with the user who must own it."""
    own, temporary = os.geteuid(), Path(tempfile.gettempdir())
    yield default_run_dir(), own
    yield _made_for(own), own
    yield temporary / f"hsrv-{own}", own
    if own == 0:
        yield SYSTEM / "hsrv", 0
        for folder in [*SYSTEM.glob("user/*/hsrv"), *SYSTEM.glob("hsrv-*"), *temporary.glob("hsrv-*")]:
            uid = folder.parent.name if folder.name == "hsrv" else folder.name.removeprefix("hsrv-")
            if uid.isdigit():
                yield folder, int(uid)


def _belongs_to(folder: Path, uid: int) -> bool:
    """Whether it is a directory of this user that no other user can write to: else its sockets can't be trusted."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o022


def _sockets(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.suffix == SUFFIX and path.stem.isdigit()]
    except OSError:
        return []  # missing, or not accessible: then it contains no server of this user
    return [path for path in found if _is_socket_of(path, None if os.geteuid() == 0 else os.geteuid())]


def _is_socket_of(path: Path, uid: int | None) -> bool:
    """Whether it is a socket, not a link to one. `uid`: of its owner; None for any."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and uid in (None, found.st_uid)


def pid_of(path: Path) -> int:
    """The supervisor's pid."""
    return int(path.stem)


def is_stale(path: Path) -> bool:
    """Whether no server listens there any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PROBE_TIMEOUT)
        try:
            sock.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False  # no permission, or too busy to accept: a server exists
        return False


def remove_stale(run_dir: Path) -> None:
    """Remove sockets of this user's servers that were killed."""
    for path in _sockets(run_dir):
        if _is_socket_of(path, os.geteuid()) and is_stale(path):
            remove_own(path)


def remove_own(path: Path) -> bool:
    """Remove a socket of this user; nothing else is removed. Returns whether the name is free now."""
    try:
        if _is_socket_of(path, os.geteuid()):
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return not os.path.lexists(path)
