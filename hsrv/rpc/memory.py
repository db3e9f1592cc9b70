"""A control channel within one process: two crossed memory streams.

The same contract as `hsrv.rpc.framing`, and in addition each message carries its sender's context variables, which a
line over a socket can't. Not only for tests: a dispatcher embedded in the same process needs no socket.
"""

from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Final

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream

from hsrv.rpc.messages import Message

BUFFER: Final = 64
"""Messages that may wait for a reader; then `send` waits."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message and the context of its sender."""

    message: Message
    context: Context


class MemoryWriter:
    """An anyio ObjectSendStream that adds the sender's context."""

    def __init__(self, stream: ObjectSendStream[Sent]) -> None:
        self._stream = stream

    async def send(self, message: Message) -> None:
        """Raises anyio.ClosedResourceError or anyio.BrokenResourceError."""
        await self._stream.send(Sent(message, copy_context()))

    async def aclose(self) -> None:
        await self._stream.aclose()


MemoryStreams = tuple[ObjectReceiveStream[Sent], MemoryWriter]


def memory_pair(buffer: int = BUFFER) -> tuple[MemoryStreams, MemoryStreams]:
    """Both ends of a channel, each as (read, write). `buffer`: messages that wait in each direction."""
    left_send, right_receive = anyio.create_memory_object_stream[Sent](buffer)
    right_send, left_receive = anyio.create_memory_object_stream[Sent](buffer)
    return (left_receive, MemoryWriter(left_send)), (right_receive, MemoryWriter(right_send))
