"""The lock is free while a step runs, and held between any two."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from hsrv.steps import LaterSteps


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


async def call(application: Coroutine[Any, Any, Any], turn: Turn) -> Any:
    """As `HTTPHost.call` and `HTTPConnection._run` do it together."""
    turn.release()
    try:
        first = application.send(None)
    finally:
        turn.acquire()
    return await LaterSteps(application, first, turn)


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
        task = asyncio.ensure_future(call(application(), turn))
        while not task.done():
            assert turn.held
            await asyncio.sleep(0)
        assert await task == "result"

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
            await call(fails(), turn)
        task = asyncio.ensure_future(call(waits(), turn))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert seen == ["cancelled"]
    assert turn.held


def test_one_that_is_given_up_is_closed() -> None:
    turn = Turn()
    seen: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("closed")

    async def scenario() -> None:
        waiting = call(waits(), turn)
        waiting.send(None)
        waiting.close()

    asyncio.run(scenario())
    assert seen == ["closed"]
    assert turn.held
