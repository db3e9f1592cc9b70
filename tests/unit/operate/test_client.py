"""Connecting to a server as an operator, without a server."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from hsrv.common.errors import NoServerError
from hsrv.operate import client


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    """A Unix socket whose accept queue is full, and its listener."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        path = tmp_path / "s"
        listener.bind(str(path))
        listener.listen(0)
        try:
            while True:
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.setblocking(False)
                sock.connect(str(path))
        except BlockingIOError:
            yield path, listener


def accept_later(listener: socket.socket) -> None:
    time.sleep(3 * client.FULL_QUEUE_PAUSE)  # the client has found the queue full
    listener.accept()[0].close()


def test_it_waits_for_room_in_the_accept_queue(full: tuple[Path, socket.socket]) -> None:
    path, listener = full
    server = Thread(target=accept_later, args=(listener,))
    server.start()
    client._connect(path, 10.0).close()
    server.join(10.0)


def test_a_queue_that_stays_full_is_told_as_such(full: tuple[Path, socket.socket]) -> None:
    with pytest.raises(NoServerError, match="accepts no connections; it is stopped or overloaded"):
        client._connect(full[0], 2 * client.FULL_QUEUE_PAUSE)
