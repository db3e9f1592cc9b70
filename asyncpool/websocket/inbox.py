"""Messages received and not yet taken by the application. Pure."""

from collections import deque
from typing import Final

from hsrv.asyncpool.websocket.events import Received

INBOX_MESSAGES: Final = 32
INBOX_BYTES: Final = 1 << 20
"""At either, nothing more is read: TCP then holds the peer back. One message may be larger than that."""


class Inbox:
    """A queue that knows when it has enough."""

    __slots__ = ("_messages", "bytes", "full")

    def __init__(self) -> None:
        self._messages: deque[Received] = deque()
        self.bytes = 0
        self.full = False

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Received) -> None:
        self._messages.append(message)
        self.bytes += message.size
        self._judge()

    def take(self) -> Received:
        message = self._messages.popleft()
        self.bytes -= message.size
        self._judge()
        return message

    def _judge(self) -> None:
        self.full = len(self._messages) >= INBOX_MESSAGES or self.bytes >= INBOX_BYTES

    def clear(self) -> None:
        self._messages.clear()
        self.bytes = 0
        self.full = False
