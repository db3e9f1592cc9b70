"""New connections: the worker's side of the shared accept queues.

All workers share the supervisor's listening sockets. A worker whose loop doesn't turn doesn't accept, and one at its
concurrency limit stops accepting, so new connections go to those that are free.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Final

from hsrv.http.events import Address
from hsrv.logging import get_logger
from hsrv.messages import ListenerInfo, Origin
from hsrv.poller import poller_of

ACCEPT_BATCH: Final = 1
"""Connections accepted per turn of the loop. More would let one worker take what its idle siblings could serve."""

EXHAUSTED_PAUSE: Final = 0.1
"""Seconds without accepting after EMFILE or ENFILE; connections wait in the kernel's queue meanwhile."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = get_logger("hsrv.worker")


class Acceptor:
    """Accepts on all listeners while it is open and not paused."""

    def __init__(
        self,
        listeners: list[tuple[ListenerInfo, socket.socket]],
        loop: asyncio.AbstractEventLoop,
        on_accept: Callable[[socket.socket, Origin], None],
    ) -> None:
        self._listeners = listeners
        self._loop = loop
        self._poller = poller_of(loop)
        self._on_accept = on_accept
        self._watching = False
        self._exhausted: asyncio.TimerHandle | None = None
        self.accepted = 0

    def resume(self) -> None:
        """Accept from now on."""
        if self._watching or self._exhausted is not None:
            return
        for info, listener in self._listeners:
            self._poller.add_reader(listener.fileno(), self._accept, info, listener, ACCEPT_BATCH)
        self._watching = True

    def pause(self) -> None:
        """Leave new connections to the other workers."""
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
        self._listeners = []

    def _accept(self, info: ListenerInfo, listener: socket.socket, most: int) -> None:
        for _ in range(most):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(error)
                return
            self.accepted += 1
            self._on_accept(sock, self._origin(info, sock, peer))

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

    def _failed(self, error: OSError) -> None:
        """accept() failed for lack of descriptors or memory: pause, or the loop would spin on the readable listener."""
        if error.errno not in _EXHAUSTED:
            log.warning("accept failed", error=str(error))
            return
        log.warning("out of descriptors", error=str(error), pause=EXHAUSTED_PAUSE)
        self.pause()
        self._exhausted = self._loop.call_later(EXHAUSTED_PAUSE, self._recover)

    def _recover(self) -> None:
        self._exhausted = None
        self.resume()


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
