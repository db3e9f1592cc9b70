"""Packets with descriptors over a Unix socket pair: the handoff, adopt and template channels.

Owns the only sendmsg/recvmsg calls of hsrv. Promises: a packet and its descriptors arrive together, whole, at exactly
one receiver, or `send` raises and the sender still owns everything; a received descriptor that is not taken is closed
with its packet. Must not block: both ends are non-blocking, the caller waits for readiness.
"""

import array
import errno
import os
import socket
import sys
from types import TracebackType
from typing import Final, Self

from hsrv.common.errors import HsrvError
from hsrv.ipc.anonfile import anonymous_file

PACKET_LIMIT: Final = 32 * 1024
"""Bytes of a packet sent inline. A larger one travels in a memfd: the socket buffer (200 KiB by default) then
still holds several packets, and no head and body limit can make one that never fits."""

MAX_DESCRIPTORS: Final = 64
"""Per packet. The kernel's own limit is 253 (SCM_MAX_FD)."""

SEND_BUFFER: Final = 1 << 20
"""SO_SNDBUF asked for; the kernel clamps it to net.core.wmem_max. About 170 packets fit the usual default."""

_INLINE: Final = b"\0"
_IN_MEMFD: Final = b"\1"
_FULL: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ETOOMANYREFS, errno.ENOMEM})
_GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ECONNREFUSED})

_KIND: Final = socket.SOCK_DGRAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET


class ChannelError(HsrvError):
    """A packet could not be sent. The sender still owns its descriptors."""


class ChannelFull(ChannelError):
    """No room at present (EAGAIN, ETOOMANYREFS): wait until writable, or give up and answer 503."""


class ChannelClosed(ChannelError):
    """No receiver can ever read it."""


class NoDescriptors(ChannelError):
    """This process has no descriptors left (EMFILE, ENFILE): reading now would lose those of the packet."""


class Packet:
    """A received payload and its descriptors. Must be closed; descriptors that were taken stay open."""

    __slots__ = ("_fds", "payload")

    def __init__(self, payload: bytes, fds: list[int]) -> None:
        self.payload = payload
        self._fds = fds

    def __len__(self) -> int:
        """Descriptors not taken yet."""
        return len(self._fds)

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors not taken yet; the packet keeps owning them."""
        return tuple(self._fds)

    def take_fd(self) -> int:
        """The next descriptor, owned by the caller from now on. Raises IndexError."""
        return self._fds.pop(0)

    def take_socket(self) -> socket.socket:
        """The next descriptor as a socket of its own family and type, non-blocking. Raises IndexError, OSError."""
        fd = self._fds[0]
        sock = socket.socket(fileno=fd)
        self._fds.pop(0)
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class Channel:
    """One end of a packet channel. Several processes may hold the same end; the kernel gives a packet to one."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    @classmethod
    def pair(cls) -> tuple["Channel", "Channel"]:
        """Two connected ends, close-on-exec. Raises OSError."""
        left, right = socket.socketpair(socket.AF_UNIX, _KIND)
        for sock in (left, right):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        return cls(left), cls(right)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def send(self, payload: bytes, *fds: int) -> None:
        """Pass `payload` and copies of `fds`. Raises `ChannelFull`, `ChannelClosed` or `NoDescriptors`;
        the caller owns its descriptors before and after."""
        if len(payload) <= PACKET_LIMIT:
            self._sendmsg(_INLINE + payload, fds)
            return
        try:
            stored = _store(payload)
        except OSError as error:
            raise NoDescriptors(str(error)) from error
        try:
            self._sendmsg(_IN_MEMFD, (*fds, stored))
        finally:
            os.close(stored)

    def _sendmsg(self, data: bytes, fds: tuple[int, ...]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([data], rights)
        except OSError as error:
            if error.errno in _FULL:
                raise ChannelFull(str(error)) from error
            if error.errno in _GONE:
                raise ChannelClosed(str(error)) from error
            raise

    def receive(self, *, expect: int = 2) -> Packet | None:
        """The next packet, or None when there is none at present.

        `expect` is the number of descriptors to make sure of first: the kernel drops what doesn't fit
        the process's table, and a dropped descriptor is a lost client. Raises `ChannelClosed` when the
        last sender is gone, `NoDescriptors` when the table is full (the packet stays queued).
        """
        _ensure_room(expect, self._sock.fileno())
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # not on macOS
        try:
            data, ancillary, _, _ = self._sock.recvmsg(PACKET_LIMIT + 1, space, flags)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if error.errno in _GONE:
                raise ChannelClosed(str(error)) from error
            raise
        packet = Packet(data[1:], _descriptors(ancillary))
        if not data:
            raise ChannelClosed("end of file")
        if data[:1] == _IN_MEMFD and len(packet):
            packet.payload = _load(packet._fds.pop())
        return packet


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if not hasattr(socket, "MSG_CMSG_CLOEXEC"):
        for fd in fds:
            os.set_inheritable(fd, False)
    return fds.tolist()


def _ensure_room(count: int, probe: int) -> None:
    """Raise `NoDescriptors` unless `count` more descriptors are available. Tried, not computed: the application opens
    descriptors too, and a probe costs two system calls each."""
    probes: list[int] = []
    try:
        probes.extend(os.dup(probe) for _ in range(count))
    except OSError as error:
        raise NoDescriptors(str(error)) from error
    finally:
        for fd in probes:
            os.close(fd)


def _store(payload: bytes) -> int:
    """A descriptor of an anonymous file that holds `payload`."""
    fd = anonymous_file("hsrv-packet")
    try:
        view = memoryview(payload)
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        os.close(fd)
        raise
    return fd


def _load(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()
