"""The part of a connection that waits in the outbox for the end of a turn (`hsrv.net.outbox`).

Owns the data that waits there. Promises: the data of a connection stays in order, nothing is sent twice, and what the
kernel doesn't accept is kept as other data of the connection is. Another thread may send at any time while it holds
`Outbox.turn`; so all that changes what waits holds it too, but for the first write, before which nothing waits.
"""

import socket
from collections import deque
from time import monotonic
from typing import Final

from hsrv.net.outbox import Outbox, Writer

GATHER_LIMIT: Final = 16 * 1024
"""Bytes of a connection that may wait for the end of the turn. A larger write has its cost by itself."""

_WOULD_BLOCK: Final = (BlockingIOError, InterruptedError)


class FilePart:
    """A range of an open file, owned: closed when written or dropped."""

    __slots__ = ("fd", "left", "offset")

    def __init__(self, fd: int, offset: int, left: int) -> None:
        self.fd = fd
        self.offset = offset
        self.left = left


class GatheringConn(Writer):
    """A connection as far as its small writes go."""

    __slots__ = (
        "_broken",
        "_gathered",
        "_gathered_bytes",
        "_pending",
        "_sock",
        "_waits",
        "outbox",
        "pending_bytes",
        "sent_bytes",
    )

    def __init__(self, sock: socket.SocketType, outbox: Outbox) -> None:
        self._sock = sock
        self.outbox = outbox
        self._waits = False
        """It is in the outbox."""
        self._gathered = b""
        """What is left of the data for which it is there. Other data waits only behind it."""
        self._gathered_bytes = 0
        """How much it was."""
        self._broken = False
        """Writing failed: the peer is gone."""
        self._pending: deque[memoryview | FilePart] | None = None
        """Other data that waits: the peer doesn't take it. Created when there is some: most connections never need
        it."""
        self.pending_bytes = 0
        """All that waits, the outbox included."""
        self.sent_bytes = 0

    def _keep(self, parts: tuple[bytes, ...], sent: int) -> None:
        """Let `parts` wait until the peer takes them, without the first `sent` bytes."""
        raise NotImplementedError

    def _gather(self, data: bytes, *, alone: bool) -> bool:
        """Leave `data` to the outbox, if it is small. Else all that was left there before is sent now, or kept."""
        size = len(data)
        outbox = self.outbox
        if not self._waits:
            if not alone or size > GATHER_LIMIT or self._pending:
                return False
            self._gathered, self._gathered_bytes, self._waits = data, size, True
            self.pending_bytes += size
            outbox.add(self)
            return True
        with outbox.turn:  # the other thread may be sending
            if alone and self._gathered_bytes + size <= GATHER_LIMIT:
                self._gathered += data
                self._gathered_bytes += size
                self.pending_bytes += size
                if outbox.overdue(monotonic()):
                    outbox.flush()
                return True
            self._take_out()
        return False

    @property
    def only_gathered(self) -> bool:
        """Nothing waits but what the outbox has, for the end of this turn."""
        return self._waits and not self._pending

    @property
    def all_sent(self) -> bool:
        """The other thread has sent all that waited."""
        return self._waits and not self._gathered and not self._pending and not self._broken

    def send_out(self) -> None:
        data = self._gathered
        if not data or self._broken:
            return
        try:
            sent = self._sock.send(data)
        except _WOULD_BLOCK:
            return
        except OSError:
            self._broken = True
            return
        self._gathered = data[sent:]

    def _leave_outbox(self) -> None:
        if self._waits:
            with self.outbox.turn:
                self._take_out()

    def _take_out(self) -> None:
        """Send what waits in the outbox, keep what the kernel doesn't accept, and count. Calls nobody back."""
        self.send_out()
        left, size = self._gathered, self._gathered_bytes
        self._gathered, self._gathered_bytes, self._waits = b"", 0, False
        sent = size - len(left)
        self.pending_bytes -= size
        self.sent_bytes += sent
        if left and not self._broken:
            self._keep((left,), 0)
