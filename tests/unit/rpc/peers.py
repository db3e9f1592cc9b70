"""Handlers that wait, and peers that do not read."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel

from hsrv.rpc.dispatcher import Context, Dispatcher
from tests.unit.rpc.conftest import DEADLINE, Peer


async def turns(until: Callable[[], object]) -> None:
    """Turns of the loop until it is so."""
    with anyio.fail_after(DEADLINE):
        while not until():
            await anyio.lowlevel.checkpoint()


async def forever(context: Context, method: str, params: Any) -> Any:
    await anyio.sleep_forever()


class Waiting:
    """A handler that waits when asked to "wait", and tells what became of it."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.ended = anyio.Event()
        self.context: Context | None = None

    async def __call__(self, context: Context, method: str, params: Any) -> Any:
        if method != "wait":
            return method
        self.context = context
        self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.set()


async def half_close(peer: Peer) -> None:
    """Send no more, but go on reading."""
    sock = getattr(peer.write, "_sock", None)
    if sock is None:
        await peer.write.aclose()
    else:
        sock.shutdown(1)


BIG = "x" * 900_000


async def wedge(dispatcher: Dispatcher) -> None:
    """Write until the peer, who doesn't read, takes no more: twice in a row, for once may be a machine that paused."""
    refused = 0
    for _ in range(100):
        with anyio.move_on_after(0.05) as scope:
            await dispatcher.notify("fill", {"data": BIG})
        refused = refused + 1 if scope.cancelled_caught else 0
        if refused == 2:
            return
    raise AssertionError("it takes everything")
