"""A task of the application that tries to end the process ends alone."""

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from hsrv.child.strayexits import run_past_exits

EVENT = "a task of the application tried to exit"


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def leave(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_everything_else_continues_and_it_is_logged_once(
    loop: asyncio.AbstractEventLoop, error: BaseException
) -> None:
    async def life() -> str:
        task = asyncio.ensure_future(leave(error))
        await asyncio.wait([task])
        return "alive"

    with capture_logs() as logs:
        assert run_past_exits(loop, life()) == "alive"
    (line,) = [entry for entry in logs if entry["event"] == EVENT]
    assert type(error).__name__ in line["exception"]
    assert "in leave" in line["exception"]
    assert "asyncio/" not in line["exception"], "the traceback begins with the application's frame"


def test_so_does_an_exit_in_a_callback(loop: asyncio.AbstractEventLoop) -> None:
    def leave_now() -> None:
        raise SystemExit(1)

    async def life() -> str:
        loop.call_soon(leave_now)
        await asyncio.sleep(0.01)
        return "alive"

    with capture_logs() as logs:
        assert run_past_exits(loop, life()) == "alive"
    assert [entry["event"] for entry in logs] == [EVENT]


@pytest.mark.parametrize("error", [SystemExit(3), ValueError("wrong")])
def test_an_error_of_the_life_itself_is_raised(loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
    with capture_logs() as logs, pytest.raises(type(error)):
        run_past_exits(loop, leave(error))
    assert logs == []
