"""The lock is free while a step runs, and held between any two."""

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import pytest

from hsrv.steps import Steps


class Turn:
    """Remembers who may act."""

    def __init__(self) -> None:
        self.held = True

    def acquire(self) -> bool:
        assert not self.held
        self.held = True
        return True

    def release(self) -> None:
        assert self.held
        self.held = False


def test_every_step_runs_without_it() -> None:
    turn = Turn()
    seen: list[bool] = []

    async def application() -> str:
        seen.append(turn.held)
        await asyncio.sleep(0)
        seen.append(turn.held)
        await asyncio.sleep(0.01)
        seen.append(turn.held)
        return "result"

    async def scenario() -> None:
        task = asyncio.ensure_future(call())
        while not task.done():
            assert turn.held
            await asyncio.sleep(0)
        assert await task == "result"

    async def call() -> Any:
        return await Steps(application(), turn)

    asyncio.run(scenario())
    assert seen == [False] * 3
    assert turn.held


def test_what_is_raised_and_what_cancels_passes_through() -> None:
    turn = Turn()
    seen: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("inside")

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled" if not turn.held else "held")
            raise

    async def scenario() -> None:
        with pytest.raises(ValueError, match="inside"):
            await Steps(fails(), turn)

        async def call() -> None:
            await Steps(waits(), turn)

        task = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert seen == ["cancelled"]
    assert turn.held


def test_an_application_may_return_any_awaitable() -> None:
    class Odd:
        def __await__(self) -> Generator[Any, Any, int]:
            yield from asyncio.sleep(0).__await__()
            return 7

    lock = threading.RLock()
    with lock:

        async def held() -> int:
            result: int = await Steps(Odd(), lock)
            return result

        assert asyncio.run(held()) == 7
