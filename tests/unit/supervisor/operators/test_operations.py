"""Who follows an operation hears all of it, whenever he comes."""

import anyio
import anyio.lowlevel
import pytest

from hsrv.supervisor.operators.operations import Operation, Operations, new_id

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def followed(operation: Operation) -> list[str]:
    steps: list[str] = []

    async def note(step: str) -> None:
        steps.append(step)
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        await operation.follow(note)
    return steps


async def test_several_followers_hear_what_came_before_and_after() -> None:
    operations, heard = Operations(), list[list[str]]()
    operation = operations.open("a")
    assert operations.open("a") is operation

    async def follow() -> None:
        heard.append(await followed(operation))

    operations.step("a", "one")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        operations.step("a", "two")
        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        operations.step("a", "three")
        operations.end("a", "it broke", "Traceback")
    assert heard == [["one", "two", "three"]] * 2
    assert (operation.error, operation.traceback) == ("it broke", "Traceback")


async def test_one_that_is_over_is_not_waited_for() -> None:
    operations = Operations()
    operation = operations.open("a")
    operations.end("a", "", "")
    assert await followed(operation) == []
    assert operations.open("a") is not operation


async def test_news_of_what_nobody_asked_for_is_nobodys() -> None:
    operations = Operations()
    operations.step("", "one")
    operations.end("unknown", "", "")


def test_ids_differ() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
