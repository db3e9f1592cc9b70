"""One client socket that this process owns.

Owns the descriptor, its registrations with the event loop and what is waiting to be written. Leaves by
`close()`, `abort()` or `give()`, exactly once; after that any use raises. Promises: `write()` never blocks and
never copies a large body; what the peer doesn't take waits in order, and `drained()` holds the writer back. Must not
know HTTP: it moves bytes.

Raw non-blocking sockets instead of asyncio transports: an explicit descriptor can be passed to another
process at any moment, and a complete response leaves in one system call on the caller's stack.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import sys
import termios
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from hsrv.common.errors import ClientDisconnected
from hsrv.ipc.messages import Origin
from hsrv.net.poller import poller_of
from hsrv.net.waiting import until

RECEIVE_SIZE: Final = 64 * 1024
"""Bytes read per system call: a request with a small body in one."""

HIGH_WATER: Final = 64 * 1024
LOW_WATER: Final = 16 * 1024
"""Bytes waiting to be written at which `drained()` begins to wait, and ends waiting."""

STREAM_UNSENT_LIMIT: Final = 256 * 1024
"""Bytes of a stream that the kernel takes ahead of what it can send (TCP_NOTSENT_LOWAT). More would only be older when
the client reads it, and there may be thousands that read slowly."""

SENDFILE_SIZE: Final = 1 << 20
"""Bytes per sendfile() call, so that one fast reader of a large file doesn't hold the loop."""

_MORE: Final = getattr(socket, "MSG_MORE", 0)
"""Not on macOS."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_WOULD_BLOCK: Final = (BlockingIOError, InterruptedError)


class Sender(Protocol):
    """Where a connection can be given to: a `hsrv.ipc.channel.Channel`."""

    def send(self, payload: bytes, *fds: int) -> None: ...


class _FilePart:
    """A range of an open file, owned: closed when written or dropped."""

    __slots__ = ("fd", "left", "offset")

    def __init__(self, fd: int, offset: int, left: int) -> None:
        self.fd = fd
        self.offset = offset
        self.left = left


class Conn:
    """A client socket this process owns."""

    __slots__ = (
        "_broken",
        "_held",
        "_loop",
        "_pending",
        "_poller",
        "_queued",
        "_sock",
        "_told",
        "_waiter",
        "_writing",
        "fd",
        "on_broken",
        "on_flushed",
        "on_left",
        "origin",
        "pending_bytes",
        "progress_at",
        "reading",
        "received_bytes",
        "sent_bytes",
    )

    def __init__(self, sock: socket.SocketType, loop: asyncio.AbstractEventLoop, origin: Origin) -> None:
        self._sock = sock
        self._loop = loop
        self._poller = poller_of(loop)
        self.origin = origin
        self.fd = sock.fileno()
        self.reading = False
        self._writing = False
        self._broken = False
        """Writing failed: the peer is gone."""
        self._pending: deque[memoryview | _FilePart] | None = None
        """Made when something has to wait: most connections never need it."""
        self.pending_bytes = 0
        self._queued = 0
        """Bytes that the kernel held for the peer when that was looked at last."""
        self.sent_bytes = 0
        self.received_bytes = 0
        self._told = (0, 0)
        self._waiter: asyncio.Future[None] | None = None
        self.progress_at = 0.0
        """loop.time() when the peer was last seen to take something; only kept while something waits."""
        self._held = False
        """The kernel keeps what was written last until `finish_writing()`, or `close()`."""
        self.on_flushed: Callable[[], None] | None = None
        """Called when everything that had to wait is written."""
        self.on_broken: Callable[[], None] | None = None
        """Called when writing failed outside of `write()`: the peer is gone."""
        self.on_left: Callable[[], None] | None = None
        """Called once, when the socket is closed or another process's."""

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    # reading

    def watch(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever there is something to read, or the end of it."""
        if not self.reading and self.fd >= 0:
            self._poller.add_reader(self.fd, callback)
            self.reading = True

    def unwatch(self) -> None:
        if self.reading:
            self._poller.remove_reader(self.fd)
            self.reading = False

    def receive(self, size: int = RECEIVE_SIZE) -> bytes | None:
        """What is there to read: bytes, b"" at the end (also when the peer reset), None when nothing is."""
        try:
            data = self._sock.recv(size)
        except _WOULD_BLOCK:
            return None
        except OSError:
            return b""
        self.received_bytes += len(data)
        return data

    def at_end(self) -> bool:
        """Whether what there is to read is the end (also when the peer reset). Reads nothing."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except _WOULD_BLOCK:
            return False
        except OSError:
            return True

    def readable(self) -> bool:
        """Whether there is something to read, or the end. Reads nothing."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except _WOULD_BLOCK:
            return False
        except OSError:
            pass
        return True

    # writing

    def write(self, data: bytes, *more: bytes, last: bool = False) -> None:
        """Write now what the kernel takes and keep the rest, in order. Raises `ClientDisconnected`.

        `last`: the end follows at once. Then both leave in one segment: half the way through the kernel, and one packet
        less for the peer.
        """
        if self.fd < 0 or self._broken:
            raise ClientDisconnected(errno.EPIPE, "the client is gone")
        if self._pending:
            self._keep((data, *more), 0)
            return
        flags = 0
        if last:
            self._held = True
            flags = _MORE
        try:
            sent = self._sock.sendmsg((data, *more), (), flags) if more else self._sock.send(data, flags)
        except _WOULD_BLOCK:
            sent = 0
        except OSError as error:
            raise ClientDisconnected(error.errno, "the client is gone") from error
        self.sent_bytes += sent
        if more or sent < len(data):
            self._keep((data, *more), sent)

    def write_file(self, fd: int, offset: int, count: int) -> None:
        """Write `count` bytes of an open file with sendfile(2). Takes ownership of `fd`, also when it raises
        `ClientDisconnected`."""
        if self.fd < 0:
            os.close(fd)
            raise ClientDisconnected(errno.EPIPE, "the client is gone")
        if count == 0:
            os.close(fd)
            return
        if self._pending is None:
            self._pending = deque()
        self._pending.append(_FilePart(fd, offset, count))
        self.pending_bytes += count
        self._start_writing()

    def stalled(self, now: float, patience: float) -> bool:
        """Whether something waits, and the peer has taken nothing for `patience` seconds. Called now and then.

        What it acknowledged to the kernel counts: that may hold so much that a slow peer takes minutes until there is
        room for more of ours.
        """
        if not self.pending_bytes:
            return False
        queued = _queued_bytes(self.fd)
        if queued != self._queued:
            self._queued, self.progress_at = queued, now
        return now - self.progress_at > patience

    def limit_unsent(self) -> None:
        """A stream begins: the kernel takes less ahead."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and self._sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # macOS: of a peer that is gone already, as reading will tell
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, STREAM_UNSENT_LIMIT)

    def drained(self) -> Coroutine[Any, Any, None]:
        """To be awaited: until the peer has taken enough. Raises `ClientDisconnected` when it is gone.

        Bounded by the owner, who looks at `progress_at` and aborts a peer that takes nothing.
        """
        if self._broken:
            raise ClientDisconnected(errno.EPIPE, "the client is gone")
        if self.pending_bytes <= HIGH_WATER:
            return until(None)
        if self._waiter is None or self._waiter.done():
            self._waiter = self._loop.create_future()
        return until(self._waiter)

    def _keep(self, parts: tuple[bytes, ...], sent: int) -> None:
        pending = self._pending
        if pending is None:
            pending = self._pending = deque()
        for part in parts:
            if sent >= len(part):
                sent -= len(part)
            else:
                pending.append(memoryview(part)[sent:])
                self.pending_bytes += len(part) - sent
                sent = 0
        self._start_writing()

    def _start_writing(self) -> None:
        if not self._writing and self._pending:
            self.progress_at = self._loop.time()
            self._queued = _queued_bytes(self.fd)
            self._poller.add_writer(self.fd, self._on_writable)
            self._writing = True

    def _on_writable(self) -> None:
        try:
            while self._pending:
                first = self._pending[0]
                sent = self._send_first(self._pending, first)
                if sent == 0:
                    break
                self.progress_at = self._loop.time()
                if isinstance(first, _FilePart):
                    break  # one piece per turn of the loop
        except _WOULD_BLOCK:
            pass
        except OSError:
            self._break()
            return
        self._after_progress()

    def _send_first(self, pending: "deque[memoryview | _FilePart]", part: memoryview | _FilePart) -> int:
        if isinstance(part, _FilePart):
            sent = os.sendfile(self.fd, part.fd, part.offset, min(part.left, SENDFILE_SIZE))
            if sent == 0:
                raise OSError(errno.EIO, "the file is shorter than announced")
            part.offset += sent
            part.left -= sent
            if part.left == 0:
                os.close(part.fd)
                pending.popleft()
        else:
            sent = self._sock.send(part)
            if sent < len(part):
                pending[0] = part[sent:]
            else:
                pending.popleft()
        self.pending_bytes -= sent
        self.sent_bytes += sent
        return sent

    def _after_progress(self) -> None:
        if self.pending_bytes <= LOW_WATER and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if not self._pending:
            self._stop_writing()
            if self.on_flushed is not None:
                self.on_flushed()

    def _stop_writing(self) -> None:
        if self._writing:
            self._poller.remove_writer(self.fd)
            self._writing = False

    def _break(self) -> None:
        """Writing failed: the peer is gone. The socket stays ours until the owner closes it."""
        self._broken = True
        self._drop_pending()
        if self.on_broken is not None:
            self.on_broken()

    def _drop_pending(self) -> None:
        self._stop_writing()
        for part in self._pending or ():
            if isinstance(part, _FilePart):
                os.close(part.fd)
        self._pending = None
        self.pending_bytes = 0
        # Its error will lead, by a traceback, to whom this socket belongs: a cycle if it stayed here.
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(ClientDisconnected(errno.EPIPE, "the client is gone"))
            waiter.exception()  # nobody may be waiting any more

    def untold(self) -> tuple[int, int]:
        """Bytes received and sent since the last time this was asked."""
        received, sent = self._told
        self._told = self.received_bytes, self.sent_bytes
        return self.received_bytes - received, self.sent_bytes - sent

    # leaving

    def finish_writing(self) -> None:
        """Tell the peer that nothing follows (FIN), while what it sends can still be read."""
        self._held = False
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop_pending()  # it is gone already; the read side reports it

    def give(self, sender: Sender, payload: bytes) -> None:
        """Pass the socket on with `payload`. Raises what `sender.send` raises, and then still owns it, unwatched.

        Nothing may be waiting to be written. Taken off the loop first: a registration with epoll outlives our
        descriptor as long as another process holds a copy.
        """
        if self._pending:
            raise RuntimeError("a connection with unwritten bytes can't be given")
        self.unwatch()
        sender.send(payload, self.fd)
        self._leave()

    def close(self) -> None:
        """Close; what was not written yet is dropped. May be called again."""
        if self.fd < 0:
            return
        if self._held:
            self.finish_writing()  # to close alone would drop it, if the peer has sent something that nobody read
        if self.reading:
            self.unwatch()
        if self._pending is not None:
            self._drop_pending()
        self._leave()

    def _leave(self) -> None:
        self.fd = -1
        self._sock.close()
        # Without a circle it needs no garbage collector.
        self.on_flushed = self.on_broken = None
        if self.on_left is not None:
            self.on_left()

    def abort(self) -> None:
        """Close with a reset, so that the peer can't mistake what it has for a complete response."""
        self._held = False
        if self.fd >= 0 and self._sock.family != socket.AF_UNIX:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                self.close()  # the peer was faster
        self.close()


def _queued_bytes(fd: int) -> int:
    """What the kernel holds for the peer of a socket: not sent, or not acknowledged. 0 where it doesn't tell."""
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0
