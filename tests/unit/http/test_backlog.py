"""Work that waits for its turn of the loop."""

import asyncio
import contextvars
import time

from hsrv.http.backlog import TURN_TIME, Backlog
from hsrv.net.context import own_context
from hsrv.net.loops import new_loop
from tests.unit.asyncpool.websocket.peer import on_loop

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="the process")


@on_loop
async def test_each_that_waits_has_its_turn_and_in_one_turn_of_the_loop_little_is_done() -> None:
    backlog = Backlog(asyncio.get_running_loop())
    done: list[int] = []

    def work(number: int) -> None:
        end = time.perf_counter() + TURN_TIME / 2
        while time.perf_counter() < end:
            pass
        done.append(number)

    for number in range(6):
        backlog.add(lambda number=number: work(number))  # type: ignore[misc]  # mypy knows no default of a lambda
    most = 0
    while backlog:
        before = len(done)
        await asyncio.sleep(0)
        most = max(most, len(done) - before)
    assert done == [0, 1, 2, 3, 4, 5]
    assert most <= 2


@on_loop
async def test_one_that_is_never_done_does_not_keep_the_loop() -> None:
    backlog = Backlog(asyncio.get_running_loop())
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1
        backlog.add(work)

    backlog.add(work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    between = calls
    await asyncio.sleep(0)
    assert 0 < between < calls


@on_loop
async def test_nothing_runs_in_the_context_of_whoever_asked() -> None:
    loop = asyncio.get_running_loop()
    own_context(loop)
    backlog = Backlog(loop)
    seen: list[str] = []

    async def application() -> None:
        WHO.set("a client")
        backlog.add(lambda: seen.append(WHO.get()))

    await asyncio.create_task(application())
    while not seen:  # noqa: ASYNC110  # it signals nothing
        await asyncio.sleep(0)
    assert seen == ["the process"]


def test_an_error_in_one_slice_stops_no_other() -> None:
    loop = new_loop("asyncio")
    loop.set_exception_handler(lambda loop, context: None)
    backlog, done = Backlog(loop), asyncio.Event()
    backlog.add(lambda: 1 // 0)
    backlog.add(done.set)
    loop.run_until_complete(asyncio.wait_for(done.wait(), 10))
    loop.close()
