"""Answers clients while no worker accepts: the serving generation has none, and none could be started.

Promises: a client waits for a worker for --queue-timeout at most, and is then answered with 503; as soon as a worker
serves again, it gets all new connections. At most MOST clients are answered at a time; the others wait in the kernel.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Final

import anyio
from anyio.abc import TaskGroup

from hsrv.logs.logging import get_logger
from hsrv.supervisor.sockets.listeners import Listener

INTERVAL: Final = 0.2
"""Seconds between two checks for a worker."""

MOST: Final = 64

ANSWER_TIMEOUT: Final = 2.0
"""Seconds for a client to send its request and to read the answer."""

RECEIVE_SIZE: Final = 1 << 16

log = get_logger("hsrv.supervisor")


def unavailable() -> bytes:
    """The whole response, with Retry-After."""
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ndate: %b\r\nretry-after: 1\r\ncontent-length: 0\r\n"
        b"connection: close\r\n\r\n" % formatdate(usegmt=True).encode()
    )


class NoWorkerResponder:
    """Accepts and answers instead of the workers of one server."""

    def __init__(
        self, listeners: Sequence[Listener], lacks_acceptor: Callable[[], bool], patience: Callable[[], float]
    ) -> None:
        """`lacks_acceptor`: whether a process should accept and none does. `patience`: --queue-timeout in seconds."""
        self._listeners = listeners
        self._lacks_acceptor = lacks_acceptor
        self._patience = patience
        self._room = anyio.Semaphore(MOST)
        self._answered = 0

    async def run(self) -> None:
        """Until cancelled."""
        since = time.monotonic()
        while True:
            if not self._lacks_acceptor():
                since = time.monotonic()
            elif time.monotonic() - since >= self._patience():
                await self._answer_all()
            await anyio.sleep(INTERVAL)

    async def _answer_all(self) -> None:
        """Answer clients until a worker serves."""
        log.error("no worker serves, clients are refused", status=503, waited=self._patience())
        self._answered = 0
        async with anyio.create_task_group() as answers, anyio.create_task_group() as acceptors:
            for listener in self._listeners:
                acceptors.start_soon(self._accept, listener.sock, answers)
            while self._lacks_acceptor():  # noqa: ASYNC110  # the plan has no event for this
                await anyio.sleep(INTERVAL)
            acceptors.cancel_scope.cancel()
        log.warning("a worker serves again", refused=self._answered)

    async def _accept(self, listener: socket.socket, answers: TaskGroup) -> None:
        while True:
            await anyio.wait_readable(listener)
            await self._room.acquire()
            if not self._lacks_acceptor():
                self._room.release()
                return
            try:
                client, _ = listener.accept()
            except OSError:  # the client is gone, or no descriptor is free
                self._room.release()
                await anyio.sleep(INTERVAL)
            else:
                answers.start_soon(self._answer, client)

    async def _answer(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError), anyio.move_on_after(ANSWER_TIMEOUT):
                client.setblocking(False)
                await anyio.wait_readable(client)
                if client.recv(RECEIVE_SIZE):
                    client.send(unavailable())
                    self._answered += 1
                    await _until_closed(client)
        finally:
            self._room.release()


async def _until_closed(client: socket.socket) -> None:
    """Closing with unread data would reset the connection and lose the answer."""
    client.shutdown(socket.SHUT_WR)
    while True:
        await anyio.wait_readable(client)
        if not client.recv(RECEIVE_SIZE):
            return
