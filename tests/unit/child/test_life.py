"""How a child ends, whatever the application has left behind."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from hsrv.child import life


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> asyncio.AbstractEventLoop:
    monkeypatch.setattr(life, "LEFTOVER_TIMEOUT", 0.05)
    return asyncio.new_event_loop()


def test_a_generator_whose_end_takes_long_is_given_up(loop: asyncio.AbstractEventLoop) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(30)

    async def first(of: AsyncIterator[int]) -> int:
        return await anext(of)

    generator = numbers()
    assert loop.run_until_complete(first(generator)) == 1
    with capture_logs() as logs:
        life._end(loop)
    assert loop.is_closed()
    assert [entry["event"] for entry in logs] == ["generators of the application did not end"]


def test_a_task_that_exits_when_it_is_cancelled_ends_alone(loop: asyncio.AbstractEventLoop) -> None:
    ended = []

    async def leave() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            sys.exit(7)

    async def write_out() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.01)
            ended.append("written")

    tasks = [loop.create_task(leave()), loop.create_task(write_out())]
    loop.run_until_complete(asyncio.sleep(0))
    with capture_logs() as logs:
        life._end(loop)
    assert loop.is_closed()
    assert all(task.done() for task in tasks)
    assert ended == ["written"]
    assert [entry["event"] for entry in logs] == ["a task of the application tried to exit"]
