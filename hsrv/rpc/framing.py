"""One JSON document per line over a Unix stream socket.

Promises: hostile input invalidates only its own line and never ends the stream; a line over LINE_LIMIT is skipped, not
stored; lines are sent whole or not at all; writing waits for the peer, and the caller sets the timeout.
"""

import socket
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.lowlevel

from hsrv.net.poller import wait_readable, wait_writable
from hsrv.rpc.messages import InvalidMessage, Message, decode, encode

LINE_LIMIT: Final = 1 << 20
"""Bytes of one line."""


class LineReader:
    """Messages from a socket; an `InvalidMessage` for a line that isn't one. An anyio ObjectReceiveStream."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._searched = 0
        self._skipping = False

    async def receive(self) -> Message | Exception:
        """Raises anyio.EndOfStream at the end, also when the peer reset."""
        while True:
            line = self._next_line()
            if line is not None:
                try:
                    return decode(line)
                except InvalidMessage as error:
                    return error
            if len(self._buffer) > LINE_LIMIT:
                self._buffer.clear()
                self._searched = 0
                if not self._skipping:
                    self._skipping = True
                    return InvalidMessage(f"line over {LINE_LIMIT} bytes")
            await self._fill()

    def _next_line(self) -> bytes | None:
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            if self._skipping:
                self._skipping = False  # the end of a line that was already reported
            elif line.strip():
                return line
        self._searched = len(self._buffer)
        return None

    async def _fill(self) -> None:
        try:
            data = await self._receive()
        except (OSError, ValueError) as error:
            raise anyio.EndOfStream from error
        if not data:
            raise anyio.EndOfStream
        self._buffer += data
        await anyio.lowlevel.checkpoint()  # a flood must not monopolise the loop

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._sock.recv(65536)
            except (BlockingIOError, InterruptedError):
                await wait_readable(self._sock.fileno())

    async def aclose(self) -> None:
        """Nothing to do: the writer closes the socket, last."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


class LineWriter:
    """Messages to a socket. An anyio ObjectSendStream; owns the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = anyio.Lock()
        self._rest = memoryview(b"")
        """The rest of a partly sent line. It is kept when its sender is cancelled, and sent before the next line."""

    async def send(self, message: Message) -> None:
        """Raises anyio.ClosedResourceError, anyio.BrokenResourceError, TypeError (not JSON) or ValueError (the line
        would be over LINE_LIMIT, and the peer would skip it).

        A message whose send is cancelled before its first byte is never sent.
        """
        data = memoryview(encode(message) + b"\n")
        if len(data) > LINE_LIMIT:
            raise ValueError(f"a message of {len(data)} bytes, the limit is {LINE_LIMIT}")
        async with self._lock:
            if self._sock.fileno() < 0:
                raise anyio.ClosedResourceError
            try:
                await self._flush()
                self._rest = data
                await self._flush()
            except (OSError, ValueError) as error:
                raise anyio.BrokenResourceError from error
            finally:
                if self._rest is data:
                    self._rest = memoryview(b"")

    async def _flush(self) -> None:
        while self._rest:
            try:
                self._rest = self._rest[self._sock.send(self._rest) :]
            except (BlockingIOError, InterruptedError):
                await wait_writable(self._sock.fileno())

    async def aclose(self) -> None:
        self._sock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


def socket_streams(sock: socket.socket) -> tuple[LineReader, LineWriter]:
    """Both directions of a connected stream socket, which they own from now on."""
    sock.setblocking(False)
    return LineReader(sock), LineWriter(sock)
