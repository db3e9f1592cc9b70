"""What a WSGI call in a thread says to the event loop, in order.

Promises: the thread waits once QUEUE_LIMIT bytes are on their way and the client takes nothing, so backpressure reaches
the application; whatever ends the exchange (the client has left, the stream is to end, the time is over) makes the next
word of the thread raise, and wakes it if it waits. The loop learns of news by one wake-up, however many there are.
"""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from hsrv.common.asgi import Message
from hsrv.common.errors import ClientDisconnected

QUEUE_LIMIT: Final = 64 * 1024
"""Bytes of a body that the loop has not taken yet, at which the thread waits: as much as a connection keeps."""


class Bridge:
    """Between one call and its exchange."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake`: makes the loop call `take`; called in the thread."""
        self._wake = wake
        self._news = threading.Condition()
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._woken = False
        self._stopped = False
        self._over = False

    # in the thread

    def send(self, message: Message) -> bool:
        """Raises ClientDisconnected once nobody wants more. False: never to be waited for by the caller."""
        size = len(message.get("body", b""))
        if "file" in message:
            message["file"] = os.dup(
                message["file"]
            )  # the application may close its own before the loop comes to it
        with self._news:
            while self._bytes > QUEUE_LIMIT and not self._stopped:
                self._news.wait()
            if self._stopped:
                let_go(message)
                raise ClientDisconnected(errno.EPIPE, "the client is gone")
            self._messages.append(message)
            self._bytes += size
            wakes, self._woken = not self._woken, True
        if wakes:
            self._wake()
        return False

    def end(self) -> None:
        """The call is over."""
        with self._news:
            self._over = True
            wakes, self._woken = not self._woken, True
        if wakes:
            self._wake()

    # in the loop

    def take(self) -> Message | None:
        """The next message; None: there is none, and the next one wakes."""
        with self._news:
            if not self._messages:
                self._woken = False
                return None
            message = self._messages.popleft()
            before = self._bytes
            self._bytes -= len(message.get("body", b""))
            if before > QUEUE_LIMIT >= self._bytes:
                self._news.notify()
            return message

    @property
    def is_over(self) -> bool:
        """The thread says no more."""
        return self._over

    @property
    def is_finished(self) -> bool:
        """And all that it said is taken. If not, after `take` found nothing, there will be a wake-up."""
        with self._news:
            return self._over and not self._messages

    def stop(self) -> None:
        """Nothing more is wanted."""
        with self._news:
            self._stopped = True
            while self._messages:
                let_go(self._messages.popleft())
            self._bytes = 0
            self._news.notify()

    @property
    def is_stopped(self) -> bool:
        return self._stopped


def let_go(message: Message) -> None:
    """Of what came through a bridge: its file, if it has one."""
    if "file" in message:
        os.close(message["file"])
