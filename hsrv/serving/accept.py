"""New connections from the listening sockets, which all processes of the server share.

A process whose event loop doesn't turn accepts nothing, and one that is full stops accepting, so new connections go to
those that are free.

Without descriptors an acceptor first makes room (idle connections are closed), then leaves new connections to the other
processes, and at last, when that has gone on for --queue-timeout, answers those that still wait with 503: none is left
in the kernel's queue without an answer. The last descriptors are never taken, so the connections that are served
continue.
"""

import asyncio
import contextlib
import errno
import socket
from typing import Any, Final, Protocol

from hsrv.board.lasttaken import LastTaken
from hsrv.common.request import Address
from hsrv.http.contract import Outcome
from hsrv.ipc.messages import ListenerInfo, Origin
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.takeloop import BATCH_TIME, PAUSE, TakeLoop
from hsrv.system.descriptors import Reserve

ACCEPT_BATCH: Final = 16
"""Connections accepted per turn of the loop, at most, and only while each is answered and closed at once: after one
that stays, other processes may be idle and could serve the next one now."""

REFUSED_BATCH: Final = 64
"""Connections answered with 503 at a time, at most: each costs system calls, and served connections go first."""

ROOM_WANTED: Final = 16
"""Connections that are closed when there is no room for one: to search for each of them separately would cost more."""

_HERE: Final = Outcome.HERE

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = get_logger("hsrv.accept")


class Room(Protocol):
    """Whether a process can hold one more connection."""

    def has_room(self) -> bool:
        """Whether one more connection leaves enough descriptors."""

    def make_room(self, count: int) -> int:
        """Close up to `count` idle connections. Returns how many were closed."""


class Admits(Protocol):
    """Takes over accepted connections."""

    def accepted(self, sock: socket.SocketType, origin: Origin, *, at_once: bool) -> Outcome:
        """Take over a new connection. `at_once`: its first bytes, if they have arrived, are read before the loop turns.
        HERE: it uses time or a descriptor of this process from now on. Otherwise it is closed already."""

    def refuse_unread(self, sock: socket.SocketType, origin: Origin) -> None:
        """Answer with 503 and close, without waiting."""


class _Listener:
    """A listener, and what all its connections have in common."""

    __slots__ = ("address", "family", "is_tcp", "is_wildcard", "sets_nodelay", "sock")

    def __init__(self, info: ListenerInfo, sock: socket.socket) -> None:
        self.sock = sock
        self.family = int(sock.family)
        self.address = info.address
        self.is_tcp = sock.family != socket.AF_UNIX
        self.is_wildcard = info.address[0] in ("0.0.0.0", "::")
        self.sets_nodelay = self.is_tcp and not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        """Connections inherit the option from the listener; one that was opened by another program may lack it."""

    def fileno(self) -> int:
        return self.sock.fileno()


class Acceptor:
    """Accepts on all listeners while it is open, unless it pauses for lack of descriptors."""

    def __init__(
        self,
        listeners: list[tuple[ListenerInfo, socket.socket]],
        loop: asyncio.AbstractEventLoop,
        admission: Admits,
        room: Room,
        *,
        patience: float,
        last_taken: LastTaken,
        batch_time: float = BATCH_TIME,
    ) -> None:
        """`patience`: seconds for which new connections wait before they are answered with 503. `last_taken`: where it
        is noted when one was accepted."""
        self._patience = patience
        self._last_taken = last_taken
        self._listeners = [_Listener(info, sock) for info, sock in listeners]
        self._loop = loop
        self._admission = admission
        self._room = room
        self._taking = TakeLoop(
            self._listeners,
            loop,
            self._accept,
            batch=ACCEPT_BATCH,
            batch_time=batch_time,
            may_resume=self._may_resume,
        )
        self._exhausted_at = 0.0
        """loop.time() when this pause began."""
        self._reserve = Reserve()
        self._refused = 0
        """Connections answered with 503 for lack of descriptors."""

    def resume(self) -> None:
        """Accept from now on."""
        self._taking.open()

    def pause(self) -> None:
        """Leave new connections to other processes."""
        self._taking.close()

    def accept_some(self, most: int) -> int:
        """Accept up to `most` per listener at once, also while it is paused. Returns how many were. Their first bytes
        are read when the loop turns."""
        accepted = 0
        for listener in self._listeners:
            for _ in range(most):
                if not self._accept(listener, at_once=False):
                    break
                accepted += 1
        return accepted

    def close(self, *, last: int) -> None:
        """Stop for good. Up to `last` connections per listener that wait in its queue are still accepted: closing the
        last copy of a listening socket resets them."""
        self._taking.close()
        for listener in self._listeners:
            for _ in range(last):
                if not self._accept(listener, at_once=False):
                    break
            listener.sock.close()
        self._taking.end()
        self._reserve.spend()
        self._listeners.clear()

    def _accept(self, listener: _Listener, *, at_once: bool = True) -> bool:
        """Accept one. Returns whether another may follow: one that is over already spares it a turn of the loop."""
        if not self._room.has_room() and not self._room.make_room(ROOM_WANTED):
            self._exhausted("the connections leave no more")
            return False
        try:
            sock, peer = _take_next(listener)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            self._failed(error)
            return False
        origin = self._origin(listener, sock, peer)
        self._last_taken.accepted_at = origin.accepted_at
        outcome = self._admission.accepted(sock, origin, at_once=at_once)
        return outcome is not _HERE or not at_once

    def _origin(self, listener: _Listener, sock: socket.SocketType, peer: Any) -> Origin:
        sock.setblocking(False)
        if not listener.is_tcp:
            return Origin(client=None, server=listener.address, accepted_at=self._loop.time())
        if listener.sets_nodelay:
            with contextlib.suppress(OSError):  # the peer may have reset it already; reading reports that
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = _own_address(sock) or listener.address if listener.is_wildcard else listener.address
        client = peer[:2] if peer else None  # macOS reports no address for a connection that was reset before
        return Origin(client=client, server=server, accepted_at=self._loop.time())

    # out of descriptors

    def _failed(self, error: OSError) -> None:
        if error.errno not in _EXHAUSTED:
            if count := lines_due("accept failed", error.errno):
                log.warning("accept failed", error=str(error), count=count)
        elif not self._room.make_room(ROOM_WANTED):
            self._exhausted(str(error))

    def _exhausted(self, why: str) -> None:
        if self._taking.pause():
            log.warning("out of descriptors", error=why, pause=PAUSE)
            self._exhausted_at = self._loop.time()

    def _may_resume(self) -> bool:
        seconds = self._loop.time() - self._exhausted_at
        if self._has_descriptors():
            log.warning("descriptors again", seconds=round(seconds, 1), turned_away=self._refused)
            return True
        if seconds >= self._patience:
            for listener in self._listeners:
                self._refuse_waiting(listener)
        return False

    def _has_descriptors(self) -> bool:
        """Whether there is room for a connection, and two descriptors: the reserve, and one for the connection."""
        if not self._room.has_room() and not self._room.make_room(ROOM_WANTED):
            return False
        spare = Reserve()
        self._reserve.restore()
        return spare.spend() and self._reserve.is_there

    def _refuse_waiting(self, listener: _Listener) -> None:
        """Answer the connections that wait in the queue, one at a time with the reserved descriptor."""
        for _ in range(REFUSED_BATCH):
            self._reserve.spend()
            try:
                sock, peer = _take_next(listener)
            except OSError:
                break  # none waits, or the application has taken the descriptor
            self._refused += 1
            self._admission.refuse_unread(sock, self._origin(listener, sock, peer))
        self._reserve.restore()


def _take_next(listener: _Listener) -> tuple[socket.SocketType, Any]:
    """What socket.accept() does, and the peer's address. That one makes enums of family and type for each connection
    and an object half of which is written in Python: together half the cost of the system calls. Raises OSError."""
    fd, peer = listener.sock._accept()  # type: ignore[attr-defined]  # undocumented, so not in typeshed
    return socket.SocketType(listener.family, socket.SOCK_STREAM, 0, fd), peer


def _own_address(sock: socket.SocketType) -> Address | None:
    """The address the client connected to: on a wildcard listener each connection has its own."""
    try:
        host, port = sock.getsockname()[:2]
    except OSError:
        return None
    return host, port
