"""Writes to standard error and standard output.

Owns every write of the server to these. Promises: no write blocks on the reader. If the reader is slow or
gone, lines are lost and counted, and the count is logged when reading resumes; no process blocks. Must not set
O_NONBLOCK on an inherited descriptor: the shell and other writers share that open file description.
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
"""Size requested for a pipe, if the system permits: some seconds of a busy access log, so that no line is lost when the
reader is briefly late or tracebacks come in a burst. Unprivileged users may set this size (fs.pipe-max-size)."""

PATIENCE: Final = 0.1
"""Seconds that lines wait for a terminal, which takes only a few KB at a time. Only for terminals: their users want
whole tracebacks, and have few clients."""

PATIENT_SHARE: Final = 0.01
"""Fraction of the elapsed time that these waits may take in total once PATIENCE is used up."""

NOTICE_INTERVAL: Final = 1.0
"""Seconds between two lines that report lost lines: with a reader that is always too slow they must not become half of
the log."""

FLUSH_TIMEOUT: Final = 0.2
"""Seconds for flushing what the application has printed."""

Write = Callable[[bytes], int]
"""Writes what fits now and returns the number of bytes. Raises BlockingIOError when nothing fits, and OSError."""


class LineWriter:
    """Writes whole lines to a descriptor, each call in one system call: lines of several processes don't mix.

    Lines that can't be written (a full disk, a reader that is gone or slow) are dropped and counted.
    """

    def __init__(self, fd: int, inherited: int = -1, way: Write | None = None) -> None:
        """`inherited`: the `own` of the parent process, -1: none. Takes ownership of it. `way`: how to write, where
        that is not to a descriptor."""
        self._place = _place(fd)
        self.own = -1
        """Descriptor of an open file description that only this process and its children write to; -1: none."""
        self.held = -1
        """The descriptor that this writer keeps open, if any."""
        self._write = way if way is not None else self._way(fd, inherited)
        self._mend = b""
        """A line feed to end a line that was written in part, before the next one."""
        self.dropped = 0
        self._untold = 0
        self._tell_at = 0.0
        self.on_flow: Callable[[int], None] = lambda lost: None
        """Called with the number of lost lines when lines can be written again, to log it."""

    def write(self, text: bytes, lines: int = 1) -> None:
        """Write `lines` log lines; `text` ends with a line feed. Never raises OSError, and never waits for long."""
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
        """Report now how many lines were lost, if any."""
        lost, self._untold = self._untold, 0
        if lost:
            self._tell_at = time.monotonic() + NOTICE_INTERVAL
            self.on_flow(lost)
            if self._untold:  # the report was lost too; it doesn't count itself
                self._untold = lost

    def restart(self) -> None:
        """After a fork: the parent reports the lines lost so far."""
        self.dropped = self._untold = 0

    def is_for(self, fd: int) -> bool:
        """Whether this descriptor still refers to the same file as when the writer was created."""
        return _place(fd) == self._place

    def _way(self, fd: int, inherited: int) -> Write:
        """A function that writes there without blocking."""
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
            return partial(os.write, fd)  # a file: writing doesn't depend on a reader
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
        finalize(self, close).atexit = False  # lines are written until the very end

    def _lose(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines


def _place(fd: int) -> tuple[int, int]:
    try:
        found = os.fstat(fd)
    except OSError:  # closed by the parent
        return (-1, -1)
    return found.st_dev, found.st_ino


def _as_socket(fd: int) -> socket.socket:
    """A duplicate as a socket. The application's socket.setdefaulttimeout() must neither apply to it nor make the
    shared description non-blocking."""
    blocking = os.get_blocking(fd)
    sock = socket.socket(fileno=os.dup(fd))
    sock.settimeout(None)
    os.set_blocking(fd, blocking)
    return sock


def _send(sock: socket.socket, data: bytes) -> int:
    """Only this call is non-blocking; the shared description is unchanged."""
    return sock.send(data, socket.MSG_DONTWAIT)


def _reopened(fd: int) -> int:
    """The same pipe or terminal through a new open file description with its own flags; -1 if that fails: another user
    created it (then the inherited one from before --user is used), there is no reader, or no /proc."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        return -1


def _write_asking(fd: int, data: bytes) -> int:
    """Write through a shared description, in pieces that a pipe takes atomically."""
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
    """The write itself is non-blocking if the kernel supports that (pipes: Linux 6.5). Otherwise poll for room first;
    another process may take that room in between, which no call can prevent."""
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
    """Whether there is room within this time, or an error that a write would report."""
    asked = poll()
    asked.register(fd, POLLOUT)
    return bool(asked.poll(int(seconds * 1000)))


def _widen(fd: int) -> None:
    with suppress(OSError, AttributeError):  # not on this system, or the user's limit is reached
        if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < PIPE_SIZE:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


class _Terminal:
    """Waits briefly for a terminal that is slower than the writer; not for one that was stopped (Ctrl-S)."""

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
        """Whether there was room within the patience left."""
        now = time.monotonic()
        self._patience = min(PATIENCE, self._patience + (now - self._at) * PATIENT_SHARE)
        came = _has_room(self._fd, self._patience)
        self._at = time.monotonic()
        self._patience = max(0.0, self._patience - (self._at - now))
        return came


# what the application prints


def flush(*, last: bool = False) -> None:
    """Write what the application's print() has left in its streams. What is not read in time stays in the buffer; with
    `last`, at the end of the process, it is discarded, because the interpreter would block on it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            with _at_most(FLUSH_TIMEOUT):
                stream.flush()
        except TimeoutError:
            if last:
                _give_up(stream)
        except (OSError, ValueError, AttributeError):
            continue  # closed, without a reader, or replaced by the application


def _give_up(stream: TextIO) -> None:
    with suppress(OSError, ValueError):  # it has no descriptor, or no descriptors are left
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block when it takes longer: a signal interrupts the blocking call. Only in the main
    thread. The signal is repeated, because the first may arrive just before the call."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError

    handler = signal.signal(signal.SIGALRM, end)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
