"""Checks whether a process that has imported an application may fork: what the import left that a fork would share.

Finds kernel objects: threads, child processes, descriptors; `hsrv.app.forkobjects` finds Python objects. A child has a
copy of all memory, but not of these: a thread doesn't exist in it, but the locks that it held stay locked; a socket,
pipe or file position is shared by all children, and each may read data meant for another. Promises: objects that the
import closed or ended are ignored; nothing is closed, and no code of the application is called.
"""

import fcntl
import gc
import os
import socket
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from hsrv.app.forkobjects import Shared, holders, log_files, shared_objects

END: Final = 0.5
"""Seconds for threads that Python has joined to end in the kernel too (join() returns slightly earlier), and for
programs that an import started without waiting for them."""

COMMAND: Final = 80
"""Characters of a command line that are shown: enough for a program's name and first arguments."""

MEMORY_DEVICES: Final = 1
"""The major number of /dev/null, zero, full, random and urandom: they have no state."""


@dataclass(frozen=True)
class Before:
    """State of the process before the import."""

    descriptors: frozenset[int]


def before_import() -> Before:
    """Call just before the import. Existing objects are ignored from then on, by the garbage collector and by this
    module."""
    gc.freeze()
    return Before(frozenset(fd for fd, _ in _open_descriptors()))


def unsafe_to_fork(before: Before, imported: str = "the application") -> str | None:
    """Why this process should not fork, as text; None if it may. `imported`: what was imported, for the text."""
    if not (_threads() or _other_tasks() or _children() or _suspects(before) or shared_objects()):
        return None
    gc.collect()  # closes and ends unreachable objects
    objects = shared_objects()
    found = {
        "started threads": [_described(thread) for thread in _threads()],
        "left native threads": _native_threads(),
        "left child processes": _awaited(_children),
        "created objects that processes must not share": [str(shared) for shared in objects],
        "left descriptors open": _descriptors(before, objects),
    }
    reasons = [f"{what}: {_listed(texts)}" for what, texts in found.items() if texts]
    return f"importing {imported} {'; '.join(reasons)}" if reasons else None


def _listed(texts: list[str], most: int = 5) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _awaited(find: Callable[[], list[str]]) -> list[str]:
    """What is still found after END seconds, in which things that are ending may end."""
    deadline = time.monotonic() + END
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(0.01)  # there is no notification of the end of a kernel thread
    return found


# threads


def _threads() -> list[threading.Thread]:
    """Python threads besides the main one, after END seconds for those that are ending."""
    deadline = time.monotonic() + END
    while True:
        threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
        if not threads or time.monotonic() > deadline:
            return threads
        threads[0].join(0.01)


def _described(thread: threading.Thread) -> str:
    """Its name and what it runs."""
    frame = sys._current_frames().get(thread.ident or 0)
    outermost: FrameType | None = None
    while frame is not None:
        if frame.f_code.co_filename != threading.__file__:
            outermost = frame
        frame = frame.f_back
    if outermost is None:
        return thread.name
    return f"{thread.name} ({outermost.f_code.co_qualname} in {outermost.f_code.co_filename})"


def _native_threads() -> list[str]:
    """Names of threads that Python doesn't know and that a fork doesn't end. Fork-aware libraries end their threads
    before a fork and start them again when needed, in both processes (OpenBLAS, used by numpy): so a fork is tried."""
    if not _other_tasks() or threading.active_count() > 1:
        return []  # none, or there are Python threads, which can't be distinguished
    _fork_once()
    return _awaited(_other_tasks)


def _fork_once() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # it warns of threads at a fork, which is what this checks
        try:
            pid = os.fork()
        except OSError:
            return  # a later fork will report the error
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _other_tasks() -> list[str]:
    names = []
    for task in _entries("/proc/self/task"):
        try:
            if int(task.name) != os.getpid():
                names.append((task / "comm").read_text().strip())
        except OSError:
            continue  # it has just ended
    return names


def _entries(folder: str) -> list[Path]:
    try:
        return list(Path(folder).iterdir())
    except OSError:
        return []  # no /proc: not Linux


# child processes


def _children() -> list[str]:
    """Running child processes. A zombie shares nothing."""
    return [text for task in _entries("/proc/self/task") for pid in _pids_of(task) if (text := _command(pid))]


def _pids_of(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except OSError:
        return []  # a kernel without it, or the thread has just ended


def _command(pid: str) -> str:
    """The command line and pid of a process; empty if it has ended."""
    try:
        program, *words = Path("/proc", pid, "cmdline").read_text(errors="replace").split("\0")
        name = Path("/proc", pid, "comm").read_text().strip()
        state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
    if state in "ZX":
        return ""
    text = " ".join([Path(program).name or name, *words])
    return f"{text[:COMMAND].strip()} (pid {pid})"


# descriptors


def _open_descriptors() -> Iterator[tuple[int, str]]:
    """Open descriptors besides the standard ones, each with its target."""
    for entry in _entries("/proc/self/fd"):
        try:
            if int(entry.name) > 2:
                yield int(entry.name), str(entry.readlink())
        except OSError:
            continue  # the descriptor of the listing itself


def _suspects(before: Before) -> list[tuple[int, str]]:
    """Descriptors that processes must not share, as far as the kernel shows."""
    new = [(fd, target) for fd, target in _open_descriptors() if fd not in before.descriptors]
    return [(fd, target) for fd, target in new if not _is_harmless(fd)]


def _is_harmless(fd: int) -> bool:
    """Whether it is a file or directory opened for reading (see `reopen`), a file opened for appending like a log file
    (each write goes to the end in one piece), a device without state, a socket that only sends datagrams, or closed
    meanwhile."""
    try:
        mode, flags = os.fstat(fd), fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError:
        return True
    if stat.S_ISCHR(mode.st_mode):
        return os.major(mode.st_rdev) == MEMORY_DEVICES
    if stat.S_ISREG(mode.st_mode):
        return flags & os.O_ACCMODE == os.O_RDONLY or bool(flags & os.O_APPEND)
    if stat.S_ISSOCK(mode.st_mode):
        return _only_sends(fd)
    return stat.S_ISDIR(mode.st_mode)


def _only_sends(fd: int) -> bool:
    """Whether it is a datagram socket without an address, as those of statsd and syslog clients: nobody can send to it,
    and each datagram goes out in one piece."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return False
    try:
        if sock.type != socket.SOCK_DGRAM:
            return False
        if sock.family == socket.AF_UNIX:
            return not sock.getsockname() and not _is_of_pair(sock)
        return sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getsockname()[1] == 0
    finally:
        sock.detach()  # the application owns the descriptor


def _is_of_pair(sock: socket.socket) -> bool:
    """Whether what it is connected to has no name either."""
    try:
        return not sock.getpeername()
    except OSError:
        return False  # not connected


def _descriptors(before: Before, named: Iterable[Shared]) -> list[str]:
    """As text, without those that belong to objects already reported."""
    suspects = _suspects(before)
    if not suspects:
        return []
    logs, owners = log_files(), holders([fd for fd, _ in suspects])
    said = {shared.where for shared in named}
    found = []
    for fd, target in suspects:
        where = owners.get(fd, "")
        if fd not in logs and not (where and where in said):
            text = _described_socket(fd) if target.startswith("socket:") else target
            found.append(f"{fd} ({text})" + (f" of {where}" if where else ""))
    return found


def files_for_reading(before: Before) -> list[int]:
    """Descriptors of files that the import left open for reading."""
    new = (fd for fd, _ in _open_descriptors() if fd not in before.descriptors)
    return [fd for fd in new if _is_for_reading(fd)]


def _is_for_reading(fd: int) -> bool:
    try:
        mode, flags = os.fstat(fd).st_mode, fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError:
        return False  # it was closed meanwhile
    return stat.S_ISREG(mode) and flags & os.O_ACCMODE == os.O_RDONLY


def reopen(descriptors: Iterable[int]) -> None:
    """In a forked child: give each file its own position, at the same offset. A file that can't be opened again stays
    shared."""
    for fd in descriptors:
        try:
            position = os.lseek(fd, 0, os.SEEK_CUR)
            fresh = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        os.lseek(fresh, position, os.SEEK_SET)
        os.dup2(fresh, fd, inheritable=os.get_inheritable(fd))
        os.close(fresh)


def _described_socket(fd: int) -> str:
    """Its kind and ends."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return "socket"
    try:
        ends = [_end("at", sock.getsockname), _end("to", sock.getpeername)]
        kind = f"{_name(sock.family)} {_name(sock.type)}"
    finally:
        sock.detach()  # the application owns the descriptor
    return " ".join(part for part in [kind, *ends] if part)


def _name(kind: object) -> str:
    return str(getattr(kind, "name", kind))  # a plain int if Python has no name for it


def _end(word: str, name: Callable[[], object]) -> str:
    try:
        address = name()
    except OSError:
        return ""  # not connected
    if isinstance(address, tuple):
        return f"{word} {address[0]}:{address[1]}"
    return f"{word} {address!r}" if address else ""
