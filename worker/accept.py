"""New connections: the worker's side of the shared accept queues.

All workers share the supervisor's listening sockets. A worker whose loop doesn't turn doesn't accept, and one at its
concurrency limit stops accepting, so new connections go to those that are free.

Without descriptors, or full, a worker first asks for room (idle connections are closed), then leaves new connections to
the others, and at last, when that has gone on for --queue-timeout, answers what still waits with 503: nobody is left
to hang in the kernel's queue. The worker never takes its last descriptors, so what it serves goes on.
"""

import asyncio
import contextlib
import errno
import socket
import time
from typing import Any, Final, Protocol

from hsrv.common.request import Address
from hsrv.http.contract import Outcome
from hsrv.ipc.messages import ListenerInfo, Origin
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.context import later
from hsrv.net.intake import BATCH_TIME
from hsrv.net.poller import poller_of
from hsrv.system.descriptors import Reserve

ACCEPT_BATCH: Final = 16
"""Connections accepted per turn of the loop, at most. The next one only when the last was answered and is gone: who has
one that stays leaves the others to idle siblings, who could serve them now."""

EXHAUSTED_PAUSE: Final = 0.1
"""Seconds without accepting after EMFILE or ENFILE; connections wait in the kernel's queue meanwhile."""

SHED_BATCH: Final = 64
"""Connections answered with 503 at a time, at most: each takes system calls, and the served ones go first."""

ROOM_WANTED: Final = 16
"""Connections that are asked to be closed when there is no room for one: to do it for each would cost more."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = get_logger("hsrv.worker")


class AcceptorHost(Protocol):
    """What the acceptor needs of the worker."""

    def accepted(self, sock: socket.SocketType, origin: Origin, *, at_once: bool) -> Outcome:
        """A new connection, now the worker's. `at_once`: what it has sent by now is read before the loop turns.
        HERE: it takes the worker's time or a descriptor; else it is gone again, and the worker as free as before."""

    def has_room(self) -> bool:
        """Whether one more connection leaves enough descriptors."""

    def make_room(self, count: int) -> int:
        """Close up to `count` connections that nobody would miss; how many."""

    def turned_away(self, sock: socket.SocketType, origin: Origin) -> None:
        """Answer with 503 and close, at once."""


class _Listening:
    """A listener, and what all connections that come in by it have in common."""

    __slots__ = ("address", "family", "is_tcp", "is_wildcard", "sets_nodelay", "sock")

    def __init__(self, info: ListenerInfo, sock: socket.socket) -> None:
        self.sock = sock
        self.family = int(sock.family)
        self.address = info.address
        self.is_tcp = sock.family != socket.AF_UNIX
        self.is_wildcard = info.address[0] in ("0.0.0.0", "::")
        self.sets_nodelay = self.is_tcp and not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        """For connections inherit it, but not every listener has it: one that somebody else opened may not."""


class Acceptor:
    """Accepts on all listeners while it is open, not paused and not out of descriptors."""

    def __init__(
        self,
        listeners: list[tuple[ListenerInfo, socket.socket]],
        loop: asyncio.AbstractEventLoop,
        host: AcceptorHost,
        *,
        patience: float,
        batch_time: float = BATCH_TIME,
    ) -> None:
        """`patience`: seconds for which new connections wait, before they are answered with 503."""
        self._patience = patience
        self._batch_time = batch_time
        self._listening = [_Listening(info, sock) for info, sock in listeners]
        self._loop = loop
        self._poller = poller_of(loop)
        self._host = host
        self._wanted = False
        """Not paused."""
        self._watching = False
        self._exhausted: asyncio.TimerHandle | None = None
        self._exhausted_at = 0.0
        """loop.time() when this exhaustion began."""
        self._reserve = Reserve()
        self.accepted = 0
        self.turned_away = 0
        """Connections that were answered with 503 for lack of descriptors."""

    def resume(self) -> None:
        """Accept from now on."""
        self._wanted = True
        if self._watching or self._exhausted is not None:
            return
        for listening in self._listening:
            self._poller.add_reader(listening.sock.fileno(), self._accept_some, listening)
        self._watching = True

    def pause(self) -> None:
        """Leave new connections to the other workers."""
        self._wanted = False
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watching:
            for listening in self._listening:
                self._poller.remove_reader(listening.sock.fileno())
            self._watching = False

    def close(self, *, last: int) -> None:
        """Stop for good. Up to `last` connections that wait in the queue are still accepted: closing the last copy of
        a listening socket resets them."""
        self.pause()
        if self._exhausted is not None:
            self._exhausted.cancel()
        for listening in self._listening:
            for _ in range(last):
                if not self._accept(listening):
                    break
            listening.sock.close()
        if self._exhausted is not None:
            self._exhausted.cancel()
        self._reserve.spend()
        self._listening = []

    def _accept_some(self, listening: _Listening) -> None:
        """One, and the next as long as each is over at once: that spares a turn of the loop for each."""
        began = time.monotonic()
        for _ in range(ACCEPT_BATCH):
            if not self._accept(listening, at_once=True) or not self._watching:
                return
            if time.monotonic() - began > self._batch_time:
                return

    def _accept(self, listening: _Listening, *, at_once: bool = False) -> bool:
        """Accept one. Whether another may follow."""
        host = self._host
        if not host.has_room() and not host.make_room(ROOM_WANTED):
            self._exhaust("the connections leave no more")
            return False
        try:
            sock, peer = _take_next(listening)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            self._failed(error)
            return False
        self.accepted += 1
        outcome = host.accepted(sock, self._origin(listening, sock, peer), at_once=at_once)
        return outcome is not Outcome.HERE or not at_once

    def _origin(self, listening: _Listening, sock: socket.SocketType, peer: Any) -> Origin:
        sock.setblocking(False)
        if not listening.is_tcp:
            return Origin(client=None, server=listening.address, accepted_at=self._loop.time())
        if listening.sets_nodelay:
            with contextlib.suppress(OSError):  # the peer may have reset it already; reading will tell
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = _own_address(sock) or listening.address if listening.is_wildcard else listening.address
        client = peer[:2] if peer else None  # macOS has no address for one that was reset before
        return Origin(client=client, server=server, accepted_at=self._loop.time())

    # out of descriptors

    def _failed(self, error: OSError) -> None:
        if error.errno not in _EXHAUSTED:
            if count := lines_due("accept failed", error.errno):
                log.warning("accept failed", error=str(error), count=count)
        elif not self._host.make_room(ROOM_WANTED):
            self._exhaust(str(error))

    def _exhaust(self, why: str) -> None:
        """Pause, or the loop would spin on the readable listener."""
        if self._exhausted is None:
            log.warning("out of descriptors", error=why, pause=EXHAUSTED_PAUSE)
            self._exhausted_at = self._loop.time()
            self._stop_watching()
        self._exhausted = later(self._loop, EXHAUSTED_PAUSE, self._look_again)

    def _look_again(self) -> None:
        if self._is_over():
            seconds = self._loop.time() - self._exhausted_at
            log.warning("descriptors again", seconds=round(seconds, 1), turned_away=self.turned_away)
            self._exhausted = None
            if self._wanted:
                self.resume()
            return
        if self._loop.time() - self._exhausted_at >= self._patience:
            for listening in self._listening:
                self._turn_away(listening)
        self._exhaust("")

    def _is_over(self) -> bool:
        """Whether there is room for a connection, and two descriptors: the reserve, and one for it."""
        if not self._host.has_room() and not self._host.make_room(ROOM_WANTED):
            return False
        spare = Reserve()
        self._reserve.restore()
        return spare.spend() and self._reserve.is_there

    def _turn_away(self, listening: _Listening) -> None:
        """Answer those that wait in the queue, one at a time by the descriptor kept for it."""
        for _ in range(SHED_BATCH):
            self._reserve.spend()
            try:
                sock, peer = _take_next(listening)
            except OSError:
                break  # nobody waits, or the application was faster to take what we gave up
            self.turned_away += 1
            self._host.turned_away(sock, self._origin(listening, sock, peer))
        self._reserve.restore()


def _take_next(listening: _Listening) -> tuple[socket.SocketType, Any]:
    """What socket.accept() does, and its peer's address. That makes enums of family and type for each connection, and
    an object half of which is written in Python: together half as much again as the system calls. Raises OSError."""
    fd, peer = listening.sock._accept()  # type: ignore[attr-defined]  # undocumented, and so not in typeshed
    return socket.SocketType(listening.family, socket.SOCK_STREAM, 0, fd), peer


def _own_address(sock: socket.SocketType) -> Address | None:
    """The address the client connected to: on a wildcard listener each connection has its own."""
    try:
        host, port = sock.getsockname()[:2]
    except OSError:
        return None
    return host, port
