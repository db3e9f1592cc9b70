"""Messages received and not yet taken by the application. Pure."""

from collections import deque
from typing import Final

from hsrv.asyncpool.websocket.codecs.events import Received

INBOX_MESSAGES: Final = 32
INBOX_BYTES: Final = 1 << 20
"""At either, nothing more is read: TCP then holds the peer back. One message may be larger than that."""


class Inbox:
    """A queue with a limit."""

    __slots__ = ("_messages", "bytes", "full")

    def __init__(self) -> None:
        self._messages: deque[Received] = deque()
        self.bytes = 0
        self.full = False

    def __len__(self) -> int:
        return len(self._messages)

    # Both are called for every message: hence no helper that both call.

    def put(self, message: Received) -> None:
        self._messages.append(message)
        self.bytes += message.size
        self.full = len(self._messages) >= INBOX_MESSAGES or self.bytes >= INBOX_BYTES

    def take(self) -> Received:
        message = self._messages.popleft()
        self.bytes -= message.size
        self.full = len(self._messages) >= INBOX_MESSAGES or self.bytes >= INBOX_BYTES
        return message

    def enough(self, *, tight: bool) -> bool:
        """Whether reading should pause. `tight`: the pool's memory for messages is."""
        return self.full or (tight and bool(self._messages))

    def clear(self) -> None:
        self._messages.clear()
        self.bytes = 0
        self.full = False
