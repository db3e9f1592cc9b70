"""One client socket that this process owns.

Owns the descriptor, its registrations with the event loop and the data waiting to be written. Its life ends with
`close()`, `abort()` or `give()`, exactly once; after that any use raises. Promises: `write()` never blocks and never
copies a large body; data that the peer doesn't accept waits in order, and `drained()` applies backpressure. Must not
know HTTP: it moves bytes.

Raw non-blocking sockets instead of asyncio transports: an explicit descriptor can be passed to another process at any
moment, and a complete response leaves in one system call on the caller's stack.
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
from hsrv.ipc.channel import ChannelFull
from hsrv.ipc.messages import Origin
from hsrv.net.gathering import FilePart, GatheringConn
from hsrv.net.poller import Poller, poller_of
from hsrv.net.waiting import until

RECEIVE_SIZE: Final = 64 * 1024
"""Bytes read per system call: a request with a small body in one."""

HIGH_WATER: Final = 64 * 1024
LOW_WATER: Final = 16 * 1024
"""Bytes waiting to be written at which `drained()` begins to wait, and ends waiting."""

STREAM_UNSENT_LIMIT: Final = 256 * 1024
"""Unsent bytes of a stream that the kernel accepts (TCP_NOTSENT_LOWAT). More would only be staler when the client reads
it, and there may be thousands of slow readers."""

SENDFILE_SIZE: Final = 1 << 20
"""Bytes per sendfile() call, so that one fast reader of a large file doesn't block the loop."""

_MORE: Final = getattr(socket, "MSG_MORE", 0)
"""Not on macOS."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_WOULD_BLOCK: Final = (BlockingIOError, InterruptedError)


class Sender(Protocol):
    """Sends a socket to another process: a `hsrv.ipc.channel.Channel`."""

    def send(self, payload: bytes, *fds: int) -> None: ...


class Conn(GatheringConn):
    """A client socket that this process owns."""

    __slots__ = (
        "_held",
        "_loop",
        "_poller",
        "_queued",
        "_told",
        "_waiter",
        "_writing",
        "fd",
        "on_broken",
        "on_flushed",
        "on_kept",
        "on_left",
        "origin",
        "progress_at",
        "reading",
        "received_bytes",
    )

    def __init__(self, sock: socket.SocketType, loop: asyncio.AbstractEventLoop, origin: Origin) -> None:
        poller = poller_of(loop)
        super().__init__(sock, poller.outbox)
        self._loop = loop
        self._poller: Poller = poller
        self.origin = origin
        self.fd = sock.fileno()
        self.reading = False
        self._writing = False
        self._queued = 0
        """Bytes in the kernel's send queue at the last check."""
        self.received_bytes = 0
        self._told = (0, 0)
        self._waiter: asyncio.Future[None] | None = None
        self.progress_at = 0.0
        """loop.time() of the peer's last progress; only maintained while data waits."""
        self._held = False
        """The kernel holds back the last data written until `finish_writing()` or `close()` (MSG_MORE)."""
        self.on_flushed: Callable[[], None] | None = None
        """Called when all waiting data is written."""
        self.on_broken: Callable[[], None] | None = None
        """Called when writing failed outside of `write()`: the peer is gone."""
        self.on_kept: Callable[[], None] | None = None
        """Called when data from the outbox has to wait because the peer doesn't take it."""
        self.on_left: Callable[[], None] | None = None
        """Called once, when the socket is closed or passed to another process."""

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    def watch_by(self, poller: Poller) -> None:
        """Use another poller of the same loop from now on. Neither reading nor writing may be watched."""
        if self.reading or self._writing:
            raise RuntimeError("a connection that is watched stays with its poller")
        self._poller = poller

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
        """Available data: bytes, b"" at end-of-file (also when the peer reset), None when there is none."""
        try:
            data = self._sock.recv(size)
        except _WOULD_BLOCK:
            return None
        except OSError:
            return b""
        self.received_bytes += len(data)
        return data

    def at_end(self) -> bool:
        """Whether end-of-file (or a reset by the peer) comes next. Reads nothing."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except _WOULD_BLOCK:
            return False
        except OSError:
            return True

    def readable(self) -> bool:
        """Whether there is data or end-of-file to read. Reads nothing."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except _WOULD_BLOCK:
            return False
        except OSError:
            pass
        return True

    # writing

    def write(self, data: bytes, *more: bytes, last: bool = False) -> None:
        """Write, now or with others at the end of this turn (`hsrv.net.outbox`), what the kernel accepts, and keep the
        rest, in order. Raises `ClientDisconnected`.

        `last`: FIN follows at once, so it is written at once. Then both leave in one segment, which halves the work in
        the kernel and saves the peer a packet.
        """
        if self.fd < 0 or self._broken:
            raise ClientDisconnected(errno.EPIPE, "the client is gone")
        if (self._waits or self.outbox.open) and self._gather(data, alone=not more and not last):
            return
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

    def settle(self) -> None:
        if not self._waits:
            return
        self._take_out()
        if self._broken:
            self._break()
        elif self._pending:
            if self.on_kept is not None:
                self.on_kept()
        elif self.on_flushed is not None:
            self.on_flushed()

    def write_file(self, fd: int, offset: int, count: int) -> None:
        """Write `count` bytes of an open file with sendfile(2). Takes ownership of `fd`, also when it raises
        `ClientDisconnected`."""
        if self.fd < 0:
            os.close(fd)
            raise ClientDisconnected(errno.EPIPE, "the client is gone")
        if count == 0:
            os.close(fd)
            return
        self._leave_outbox()
        if self._pending is None:
            self._pending = deque()
        self._pending.append(FilePart(fd, offset, count))
        self.pending_bytes += count
        self._start_writing()

    def stalled(self, now: float, patience: float) -> bool:
        """Whether data waits and the peer has made no progress for `patience` seconds. Called periodically.

        Acknowledgements to the kernel count as progress: its queue may be so long that a slow peer takes minutes until
        there is room for more data.
        """
        if not self._writing:
            return False
        queued = _queued_bytes(self.fd)
        if queued != self._queued:
            self._queued, self.progress_at = queued, now
        return now - self.progress_at > patience

    def limit_unsent(self) -> None:
        """Called when a stream begins: limits the unsent data in the kernel."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and self._sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # macOS: the peer is already gone; reading reports it
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, STREAM_UNSENT_LIMIT)

    def drained(self) -> Coroutine[Any, Any, None]:
        """Await until the peer has accepted enough data. Raises `ClientDisconnected` when it is gone.

        The owner bounds the wait: it checks `stalled()` and aborts a peer that makes no progress.
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
            self._poller.add_writer(self.fd, self.go_on_writing)
            self._writing = True

    def go_on_writing(self) -> None:
        """Write of what waits what the kernel accepts now."""
        try:
            while self._pending:
                first = self._pending[0]
                sent = self._send_first(self._pending, first)
                if sent == 0:
                    break
                self.progress_at = self._loop.time()
                if isinstance(first, FilePart):
                    break  # one piece per turn of the loop
        except _WOULD_BLOCK:
            pass
        except OSError:
            self._break()
            return
        self._after_progress()

    def _send_first(self, pending: "deque[memoryview | FilePart]", part: memoryview | FilePart) -> int:
        if isinstance(part, FilePart):
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
        """Writing failed: the peer is gone. The socket stays open until the owner closes it."""
        self._broken = True
        self._drop_pending()
        if self.on_broken is not None:
            self.on_broken()

    def _drop_pending(self) -> None:
        self._stop_writing()
        for part in self._pending or ():
            if isinstance(part, FilePart):
                os.close(part.fd)
        self._pending = None
        self._gathered, self._gathered_bytes = b"", 0
        self.pending_bytes = 0
        # The traceback of its exception will refer to the owner of this socket: a reference cycle if kept here.
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(ClientDisconnected(errno.EPIPE, "the client is gone"))
            waiter.exception()  # marks it as retrieved: there may be no waiter any more

    def take_traffic(self) -> tuple[int, int]:
        """Bytes received and sent since the last call."""
        received, sent = self._told
        self._told = self.received_bytes, self.sent_bytes
        return self.received_bytes - received, self.sent_bytes - sent

    # leaving

    def finish_writing(self) -> None:
        """Shut down the sending side (FIN); data from the peer can still be read."""
        self._held = False
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop_pending()  # it is gone already; the read side reports it

    def give(self, sender: Sender, payload: bytes) -> None:
        """Send the socket to another process with `payload`. Raises what `sender.send` raises, and then still owns the
        socket, unwatched.

        Raises ChannelFull as well while the peer hasn't taken all that was written. Unregistered first: an epoll
        registration outlives this descriptor as long as another process holds a copy.
        """
        self._leave_outbox()
        self.unwatch()
        if self._pending:
            raise ChannelFull("data is still to be written to this connection")
        sender.send(payload, self.fd)
        self._leave()

    def close(self) -> None:
        """Close; data not yet written is dropped. May be called again."""
        if self.fd < 0:
            return
        self._leave_outbox()
        if self._held:
            self.finish_writing()  # close() alone would drop the held data if there is unread input
        if self.reading:
            self.unwatch()
        if self._pending is not None:
            self._drop_pending()
        self._leave()

    def _leave(self) -> None:
        self.fd = -1
        self._sock.close()
        # Break the reference cycle, so that it is freed without a garbage collection.
        self.on_flushed = self.on_broken = self.on_kept = None
        if self.on_left is not None:
            self.on_left()

    def abort(self) -> None:
        """Close with a reset, so that the peer can't mistake what it has for a complete response."""
        self._held = False
        if self.fd >= 0 and self._sock.family != socket.AF_UNIX:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                self.close()  # the peer has closed first
        self.close()


def _queued_bytes(fd: int) -> int:
    """Bytes in the kernel's send queue: not sent, or not acknowledged. 0 if the system doesn't report it."""
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0
