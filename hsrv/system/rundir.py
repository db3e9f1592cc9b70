"""Where the operator's socket of a running server is, and how a command finds it again.

One socket per server, named after the supervisor's pid, in a directory that only its user may enter. One that is named
may be any: in it, nothing is trusted or removed but sockets of our own.
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
"""Seconds to find out whether somebody still listens."""


SYSTEM: Final = Path("/run")
"""Where only root makes directories."""


def default_run_dir() -> Path:
    """$XDG_RUNTIME_DIR/hsrv; without one /run/hsrv for root; for others what root made for them (`make_for`), or a
    directory of our own below /tmp."""
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "hsrv"
    if os.geteuid() == 0 and SYSTEM.is_dir():
        return SYSTEM / "hsrv"
    made = _made_for(os.geteuid())
    return made if made.is_dir() else Path(tempfile.gettempdir()) / f"hsrv-{os.geteuid()}"


def _made_for(uid: int) -> Path:
    return SYSTEM / f"hsrv-{uid}"


def make_for(run_dir: str | None, uid: int, gid: int) -> None:
    """By root, before it becomes this user: the directory that `prepare` will use then. One that exists is left as it
    is. Raises BindError when one that was named can't be made."""
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
    """The directory, made if it isn't there. Raises BindError when it can't be, or isn't safe to use."""
    path = Path(run_dir) if run_dir is not None else default_run_dir()
    where = f"--run-dir {path}"
    try:
        path.mkdir(mode=0o700, parents=run_dir is not None, exist_ok=True)
        found = path.stat() if run_dir is not None else path.lstat()
    except OSError as error:
        raise BindError(f"{where}: {error.strerror or error}") from error
    if not stat.S_ISDIR(
        found.st_mode
    ):  # of a usual place also a link: whoever made it could turn it elsewhere
        raise BindError(f"{where}: not a directory")
    if run_dir is None and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
        raise BindError(f"{where}: belongs to somebody else, or others may enter it; name another one")
    if not os.access(path, os.W_OK | os.X_OK):
        raise BindError(f"{where}: no permission to make files there")
    return path


def exposure(path: Path) -> str:
    """Why somebody else may put files into this directory, or take ours away; "" when nobody may. Raises OSError."""
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {found.st_uid}"
    if found.st_mode & stat.S_IWOTH:
        return "everybody may write to it"
    if found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid():
        return f"group {found.st_gid} may write to it"
    return ""


def socket_path(run_dir: Path, pid: int) -> Path:
    """Of the server whose supervisor has this pid. Raises BindError when no socket can have such a long name."""
    path = (run_dir / f"{pid}{SUFFIX}").absolute()
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise BindError(
            f"--run-dir {run_dir}: the path is too long for a Unix socket (limit {PATH_LIMIT} bytes)"
        )
    return path


def candidates(run_dir: str | None) -> list[Path]:
    """Every operator's socket that may be there, also of servers that are gone. Root sees those of all users."""
    if run_dir is not None:
        folders = [Path(run_dir)]
    else:
        folders = [folder for folder, uid in _usual_places() if _belongs_to(folder, uid)]
    found = (path for folder in dict.fromkeys(folders) for path in _sockets(folder))
    return sorted(found, key=lambda path: (str(path.parent), pid_of(path)))


def _usual_places() -> Iterator[tuple[Path, int]]:
    """Each with the user whose it must be."""
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
    """Whether it is a folder of this user that nobody else can write to: else its sockets may be anybody's."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o022


def _sockets(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.suffix == SUFFIX and path.stem.isdigit()]
    except OSError:
        return []  # not there, or not for us: then no server of ours is in it
    return [path for path in found if _is_socket_of(path, None if os.geteuid() == 0 else os.geteuid())]


def _is_socket_of(path: Path, uid: int | None) -> bool:
    """A link to one is none. `uid`: None for any user."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and uid in (None, found.st_uid)


def pid_of(path: Path) -> int:
    """The supervisor's pid."""
    return int(path.stem)


def is_stale(path: Path) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PROBE_TIMEOUT)
        try:
            sock.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False  # not for us, or too busy to accept: it is there
        return False


def remove_stale(run_dir: Path) -> None:
    """Remove what servers of ours that were killed have left."""
    for path in _sockets(run_dir):
        if _is_socket_of(path, os.geteuid()) and is_stale(path):
            remove_own(path)


def remove_own(path: Path) -> bool:
    """Remove a socket of our own. Whether the name is free now; nothing else is removed."""
    try:
        if _is_socket_of(path, os.geteuid()):
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return not os.path.lexists(path)
