"""How this process writes to standard error and standard output.

Owns every write of the server to standard error. Promises: none of them waits for whoever reads. A reader that is
asleep or gone costs lines, which are counted, and told of when it reads again; never a process. Must not set O_NONBLOCK
on a descriptor that it was given: the shell, and all else that writes there, share that open file description.
"""

import errno
import fcntl
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from select import PIPE_BUF, POLLOUT, poll
from types import FrameType
from typing import Final, TextIO
from weakref import finalize

PIPE_SIZE: Final = 1024 * 1024
"""Bytes that a pipe is to hold, if the system permits: some seconds of a busy access log. A reader that is a moment
late, or a burst of tracebacks, shall cost no line. It is what anybody may have (fs.pipe-max-size)."""

PATIENCE: Final = 0.1
"""Seconds that lines wait for a terminal, which takes only a few KB at a time. Only there: who works at it wants whole
tracebacks, and has no thousand clients."""

PATIENT_SHARE: Final = 0.01
"""Of the time that passes: what all these waits together may take once PATIENCE is used up."""

NOTICE_INTERVAL: Final = 1.0
"""Seconds between two lines that tell how many were lost: a reader that is too slow all the time must not read half of
them."""

FLUSH_TIMEOUT: Final = 0.2
"""Seconds for what the application has printed and is still in the buffer of its stream."""

Write = Callable[[bytes], int]
"""Writes what fits now; how many bytes that was. Raises BlockingIOError when nothing fits, and OSError."""


class LineWriter:
    """Writes whole lines to a descriptor, each call in one system call: lines of several processes don't mix.

    What can't be written (a full disk, a reader that is gone or asleep) is dropped and counted.
    """

    def __init__(self, fd: int, inherited: int = -1) -> None:
        """`inherited`: the `own` of the process that started us; -1: none. It is ours from now on."""
        self._place = _place(fd)
        self.own = -1
        """The descriptor of an open file description that only we, and what we start, write to; -1: there is none."""
        self.held = -1
        """The descriptor that we hold, if any."""
        self._write = self._way(fd, inherited)
        self._mend = b""
        """Ends a line that was written in part, so that it doesn't spoil the next one."""
        self.dropped = 0
        self._untold = 0
        self._tell_at = 0.0
        self.on_flow: Callable[[int], None] = lambda lost: None
        """Called with the number of lines lost when lines are written again: to write one that says so."""

    def write(self, text: bytes, lines: int = 1) -> None:
        """`text` is that many log lines and ends with a line feed. Never raises OSError, and never waits for long."""
        data = self._mend + text
        try:
            written = self._write(data)
        except OSError:
            self._lose(lines)
            return
        self._mend = b""
        if written < len(data):
            self._lose(min(lines, data.count(b"\n", written)))
            self._mend = b"\n"
        elif self._untold and time.monotonic() >= self._tell_at:
            self.tell()

    def tell(self) -> None:
        """Say now how many lines were lost, if any were."""
        lost, self._untold = self._untold, 0
        if lost:
            self._tell_at = time.monotonic() + NOTICE_INTERVAL
            self.on_flow(lost)
            if self._untold:  # this line too: it isn't one of those that it counts
                self._untold = lost

    def restart(self) -> None:
        """After a fork: what was lost is the parent's to tell."""
        self.dropped = self._untold = 0

    def is_for(self, fd: int) -> bool:
        """Whether this descriptor still leads where it led when we were made."""
        return _place(fd) == self._place

    def _way(self, fd: int, inherited: int) -> Write:
        """What writes there without waiting."""
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            return partial(os.write, fd)
        if stat.S_ISSOCK(mode):
            sock = _as_socket(fd)
            self._hold(sock.fileno(), sock.close)
            return partial(_send, sock)
        terminal = os.isatty(fd)
        if not terminal and not stat.S_ISFIFO(mode):
            return partial(os.write, fd)  # a file: nobody has to read it
        self.own = inherited if inherited >= 0 else _reopened(fd)
        write: Write = partial(_write_asking, fd)
        if self.own >= 0:
            self._hold(self.own, partial(os.close, self.own))
            write = partial(os.write, self.own)
        if terminal:
            return _Terminal(fd, write).write
        _widen(fd)
        return write

    def _hold(self, fd: int, close: Callable[[], None]) -> None:
        self.held = fd
        finalize(self, close).atexit = False  # there are lines to the very end

    def _lose(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines


def _place(fd: int) -> tuple[int, int]:
    try:
        found = os.fstat(fd)
    except OSError:  # closed by whoever started us
        return (-1, -1)
    return found.st_dev, found.st_ino


def _as_socket(fd: int) -> socket.socket:
    """A copy. What the application says with socket.setdefaulttimeout() must neither hold for it, nor make what we
    share with others non-blocking."""
    blocking = os.get_blocking(fd)
    sock = socket.socket(fileno=os.dup(fd))
    sock.settimeout(None)
    os.set_blocking(fd, blocking)
    return sock


def _send(sock: socket.socket, data: bytes) -> int:
    """The one call does not wait, whatever the description that others share says."""
    return sock.send(data, socket.MSG_DONTWAIT)


def _reopened(fd: int) -> int:
    """The same pipe or terminal by another open file description, whose flags are ours; -1: not to be had, for another
    user made it (then ours comes from before --user), or nobody reads, or there is no /proc."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        return -1


def _write_asking(fd: int, data: bytes) -> int:
    """By a description that others share, in pieces that a pipe takes whole or not at all."""
    written = 0
    while written < len(data):
        piece = data[written : written + PIPE_BUF]
        try:
            count = _write_piece(fd, piece)
        except BlockingIOError:
            if written:
                break
            raise
        written += count
        if count < len(piece):
            break
    return written


def _write_piece(fd: int, piece: bytes) -> int:
    """The write itself is told not to wait, where the kernel can do that (pipes: Linux 6.5). Elsewhere we ask for room
    first; another process may take it before we do, which no call can prevent."""
    if hasattr(os, "RWF_NOWAIT"):
        try:
            return os.pwritev(fd, [piece], -1, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ESPIPE):
                raise
    if not _has_room(fd, 0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.write(fd, piece)


def _has_room(fd: int, seconds: float) -> bool:
    """Whether there is any within this time, or an error that a write would tell."""
    asked = poll()
    asked.register(fd, POLLOUT)
    return bool(asked.poll(int(seconds * 1000)))


def _widen(fd: int) -> None:
    with suppress(OSError, AttributeError):  # not on this system, or it has given its user enough already
        if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < PIPE_SIZE:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


class _Terminal:
    """Waits a little for one that shows text more slowly than we write; not for one that was stopped (Ctrl-S)."""

    def __init__(self, fd: int, write: Write) -> None:
        self._fd = fd
        self._write = write
        self._patience = PATIENCE
        self._at = time.monotonic()

    def write(self, data: bytes) -> int:
        written = 0
        while True:
            try:
                written += self._write(data[written:])
            except BlockingIOError:
                if not self._wait():
                    if written:
                        return written
                    raise
            if written == len(data):
                return written

    def _wait(self) -> bool:
        """Whether there was room soon."""
        now = time.monotonic()
        self._patience = min(PATIENCE, self._patience + (now - self._at) * PATIENT_SHARE)
        came = _has_room(self._fd, self._patience)
        self._at = time.monotonic()
        self._patience = max(0.0, self._patience - (self._at - now))
        return came


# what the application prints


def flush(*, last: bool = False) -> None:
    """Write what the application's print() has left in its streams. What nobody reads in time stays where it is, and
    `last`, at the end of the process, is given up: the interpreter would wait for it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            with _at_most(FLUSH_TIMEOUT):
                stream.flush()
        except TimeoutError:
            if last:
                _give_up(stream)
        except (OSError, ValueError, AttributeError):
            continue  # closed, or nobody reads it, or the application put something else there


def _give_up(stream: TextIO) -> None:
    with suppress(OSError, ValueError):  # it has no descriptor, or there is none to be had
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block when it takes longer: a signal ends the call that waits. Only in the main
    thread. The signal comes again and again, for the first may come just before the call."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError

    handler = signal.signal(signal.SIGALRM, end)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
