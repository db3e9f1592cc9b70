"""Who leads within one process, with and without the file that processes share."""

import asyncio
import fcntl
import os
import threading
from collections.abc import Iterator

import pytest

import hsrv
from hsrv.child import leadership
from hsrv.ipc.anonfile import anonymous_file


@pytest.fixture(params=["without hsrv", "with its file"])
def file(request: pytest.FixtureRequest) -> Iterator[int]:
    fd = anonymous_file("test") if request.param == "with its file" else -1
    leadership.use(fd)
    yield fd
    leadership.use(-1)
    if fd >= 0:
        os.close(fd)


def in_another_process(fd: int) -> bool:
    """Whether another process could lead now."""
    pid = os.fork()
    if pid == 0:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def test_whoever_is_alone_leads_at_once(file: int) -> None:
    async def lead() -> bool:
        async with hsrv.leadership():
            return file < 0 or not in_another_process(file)

    assert asyncio.run(asyncio.wait_for(lead(), 5))
    with hsrv.leadership():
        assert file < 0 or not in_another_process(file)
    assert file < 0 or in_another_process(file)


def test_tasks_and_threads_of_a_process_lead_in_the_order_in_which_they_came(file: int) -> None:
    seen: list[int] = []

    async def lead(number: int) -> None:
        async with hsrv.leadership():
            seen.append(number)
            await asyncio.sleep(0)
            seen.append(number)

    def in_a_thread(number: int) -> None:
        with hsrv.leadership():
            seen.extend([number, number])

    async def all_of_them() -> None:
        async with hsrv.leadership():
            tasks = [asyncio.create_task(lead(number)) for number in (1, 2)]
            await asyncio.sleep(0)
            thread = threading.Thread(target=in_a_thread, args=(3,))
            thread.start()
            tasks[0].cancel()
            await asyncio.wait(tasks[:1])
            assert seen == []
        await asyncio.wait_for(tasks[1], 5)
        await asyncio.to_thread(thread.join, 5)

    asyncio.run(all_of_them())
    assert seen == [2, 2, 3, 3]


def test_an_error_ends_it(file: int) -> None:
    with pytest.raises(ZeroDivisionError), hsrv.leadership():
        1 / 0  # noqa: B018  # raises
    with hsrv.leadership():
        pass


def test_a_fork_has_not_inherited_it(file: int) -> None:
    with hsrv.leadership():
        pid = os.fork()
        if pid == 0:
            one = leadership.Leadership()
            leadership._candidacy.join(one)
            os._exit(int(leadership._candidacy.leads(one)))
        leads = os.waitpid(pid, 0)[1] != 0
        assert leads == (file < 0), "without hsrv nobody is asked"


def test_one_is_entered_once(file: int) -> None:
    one = hsrv.leadership()
    with one, pytest.raises(RuntimeError, match="already"):
        one.__enter__()
    with hsrv.leadership():
        pass
