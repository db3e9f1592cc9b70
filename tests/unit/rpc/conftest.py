"""Both kinds of channel, on the backends they run on, and a peer that does what it is told."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from hsrv.rpc.dispatcher import Context, Dispatcher
from hsrv.rpc.framing import socket_streams
from hsrv.rpc.memory import Sent, memory_pair
from hsrv.rpc.messages import Message

DEADLINE = 10.0

Handler = Callable[[Context, str, Any], Awaitable[Any]]
Streams = tuple[Any, Any]
MakePair = Callable[[], tuple[Streams, Streams]]


def socket_pair() -> tuple[Streams, Streams]:
    left, right = socket.socketpair()
    return socket_streams(left), socket_streams(right)


@pytest.fixture(params=["asyncio-socket", "asyncio-memory", "trio-memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(kind: str) -> str:
    return kind.partition("-")[0]


@pytest.fixture
def make_pair(kind: str) -> MakePair:
    return socket_pair if kind.endswith("socket") else memory_pair


class Peer:
    """The other end by hand."""

    def __init__(self, streams: Streams) -> None:
        self.read, self.write = streams

    async def next(self) -> Message:
        """The next message that we were sent."""
        with anyio.fail_after(DEADLINE):
            item = await self.read.receive()
        message = item.message if isinstance(item, Sent) else item
        assert isinstance(message, Message), message
        return message

    async def say(self, message: Message) -> None:
        with anyio.fail_after(DEADLINE):
            await self.write.send(message)

    async def close(self) -> None:
        await self.write.aclose()
        await self.read.aclose()


async def echo(context: Context, method: str, params: Any) -> Any:
    return {"method": method, "params": params}


@asynccontextmanager
async def running(
    streams: Streams, handler: Handler = echo, on_notify: Handler | None = None
) -> AsyncIterator[Dispatcher]:
    """A dispatcher that runs on one end."""
    dispatcher = Dispatcher(*streams)
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(dispatcher.run, handler, on_notify or handler)
            yield dispatcher
            tasks.cancel_scope.cancel()


MakeBoth = Callable[..., AbstractAsyncContextManager[tuple[Dispatcher, Dispatcher]]]
MakePeer = Callable[..., AbstractAsyncContextManager[tuple[Dispatcher, Peer]]]


@pytest.fixture
def both(make_pair: MakePair) -> MakeBoth:
    """Two dispatchers; the handler is the right one's."""

    @asynccontextmanager
    async def make(
        handler: Handler = echo, left_handler: Handler = echo
    ) -> AsyncIterator[tuple[Dispatcher, Dispatcher]]:
        near, far = make_pair()
        async with running(near, left_handler) as left, running(far, handler) as right:
            yield left, right

    return make


@pytest.fixture
def with_peer(make_pair: MakePair) -> MakePeer:
    """A dispatcher with this handler, and its peer by hand."""

    @asynccontextmanager
    async def make(
        handler: Handler = echo, on_notify: Handler | None = None
    ) -> AsyncIterator[tuple[Dispatcher, Peer]]:
        near, far = make_pair()
        peer = Peer(far)
        try:
            async with running(near, handler, on_notify) as dispatcher:
                yield dispatcher, peer
        finally:
            await peer.close()

    return make
