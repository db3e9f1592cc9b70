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
from typing import Final, Protocol

from hsrv.descriptors import Reserve
from hsrv.http.events import Address
from hsrv.logging import get_logger
from hsrv.messages import ListenerInfo, Origin
from hsrv.poller import poller_of

ACCEPT_BATCH: Final = 1
"""Connections accepted per turn of the loop. More would let one worker take what its idle siblings could serve."""

EXHAUSTED_PAUSE: Final = 0.1
"""Seconds without accepting after EMFILE or ENFILE; connections wait in the kernel's queue meanwhile."""

SHED_BATCH: Final = 64
"""Connections answered with 503 at a time, at most: each takes system calls, and the served ones go first."""

ROOM_WANTED: Final = 16
"""Connections that are asked to be closed when there is no room for one: to do it for each would cost more."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = get_logger("hsrv.worker")


class Landlord(Protocol):
    """What the acceptor needs of the worker."""

    def accepted(self, sock: socket.socket, origin: Origin) -> None:
        """A new connection, now the worker's."""

    def has_room(self) -> bool:
        """Whether one more connection leaves enough descriptors."""

    def make_room(self, count: int) -> int:
        """Close up to `count` connections that nobody would miss; how many."""

    def turned_away(self, sock: socket.socket, origin: Origin) -> None:
        """Answer with 503 and close, at once."""


class Acceptor:
    """Accepts on all listeners while it is open, not paused and not out of descriptors."""

    def __init__(
        self,
        listeners: list[tuple[ListenerInfo, socket.socket]],
        loop: asyncio.AbstractEventLoop,
        landlord: Landlord,
        *,
        patience: float,
    ) -> None:
        """`patience`: seconds for which new connections wait, before they are answered with 503."""
        self._patience = patience
        self._listeners = listeners
        self._loop = loop
        self._poller = poller_of(loop)
        self._landlord = landlord
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
        for info, listener in self._listeners:
            self._poller.add_reader(listener.fileno(), self._accept, info, listener, ACCEPT_BATCH)
        self._watching = True

    def pause(self) -> None:
        """Leave new connections to the other workers."""
        self._wanted = False
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watching:
            for _, listener in self._listeners:
                self._poller.remove_reader(listener.fileno())
            self._watching = False

    def close(self, *, last: int) -> None:
        """Stop for good. Up to `last` connections that wait in the queue are still accepted: closing the last copy of
        a listening socket resets them."""
        self.pause()
        if self._exhausted is not None:
            self._exhausted.cancel()
        for info, listener in self._listeners:
            self._accept(info, listener, last)
            listener.close()
        if self._exhausted is not None:
            self._exhausted.cancel()
        self._reserve.spend()
        self._listeners = []

    def _accept(self, info: ListenerInfo, listener: socket.socket, most: int) -> None:
        for _ in range(most):
            if not self._landlord.has_room() and not self._landlord.make_room(ROOM_WANTED):
                self._exhaust("the connections leave no more")
                return
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(error)
                return
            self.accepted += 1
            self._landlord.accepted(sock, self._origin(info, sock, peer))

    def _origin(self, info: ListenerInfo, sock: socket.socket, peer: object) -> Origin:
        sock.setblocking(False)
        if sock.family == socket.AF_UNIX:
            client: Address | None = None
            server = info.address
        else:
            with contextlib.suppress(OSError):  # the peer may have reset it already; reading will tell
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = _tcp_address(peer)
            server = _server_address(info, sock)
        return Origin(client=client, server=server, accepted_at=self._loop.time())

    # out of descriptors

    def _failed(self, error: OSError) -> None:
        if error.errno not in _EXHAUSTED:
            log.warning("accept failed", error=str(error))
        elif not self._landlord.make_room(ROOM_WANTED):
            self._exhaust(str(error))

    def _exhaust(self, why: str) -> None:
        """Pause, or the loop would spin on the readable listener."""
        if self._exhausted is None:
            log.warning("out of descriptors", error=why, pause=EXHAUSTED_PAUSE)
            self._exhausted_at = self._loop.time()
            self._stop_watching()
        self._exhausted = self._loop.call_later(EXHAUSTED_PAUSE, self._look_again)

    def _look_again(self) -> None:
        if self._is_over():
            seconds = self._loop.time() - self._exhausted_at
            log.warning("descriptors again", seconds=round(seconds, 1), turned_away=self.turned_away)
            self._exhausted = None
            if self._wanted:
                self.resume()
            return
        if self._loop.time() - self._exhausted_at >= self._patience:
            for info, listener in self._listeners:
                self._turn_away(info, listener)
        self._exhaust("")

    def _is_over(self) -> bool:
        """Whether there is room for a connection, and two descriptors: the reserve, and one for it."""
        if not self._landlord.has_room() and not self._landlord.make_room(ROOM_WANTED):
            return False
        spare = Reserve()
        self._reserve.restore()
        return spare.spend() and self._reserve.is_there

    def _turn_away(self, info: ListenerInfo, listener: socket.socket) -> None:
        """Answer those that wait in the queue, one at a time by the descriptor kept for it."""
        for _ in range(SHED_BATCH):
            self._reserve.spend()
            try:
                sock, peer = listener.accept()
            except OSError:
                break  # nobody waits, or the application was faster to take what we gave up
            self.turned_away += 1
            self._landlord.turned_away(sock, self._origin(info, sock, peer))
        self._reserve.restore()


def _tcp_address(peer: object) -> Address | None:
    return (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) and len(peer) >= 2 else None


def _server_address(info: ListenerInfo, sock: socket.socket) -> Address:
    """The address the client connected to: on a wildcard listener each connection has its own."""
    if info.address[0] not in ("0.0.0.0", "::"):
        return info.address
    try:
        return _tcp_address(sock.getsockname()) or info.address
    except OSError:
        return info.address
