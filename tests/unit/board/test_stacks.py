"""Stacks of a process that can't tell them itself."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import pytest

from hsrv.board import stacks

DEADLINE = 20.0

STUCK = """
import ctypes, os, sys
from hsrv.board import stacks
stacks.dump_on_signal(int(sys.argv[1]))
def here():
    print("stuck", flush=True)
    {what}
here()
"""


def dumped(fd: int, complete: Callable[[str], bool]) -> str:
    end = time.monotonic() + DEADLINE
    while not complete(text := stacks.read_dump(fd)):
        assert time.monotonic() < end, text
        os.sched_yield()
    return text


@pytest.mark.parametrize(
    "what",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "while True: ctypes.PyDLL(None).sleep(60)",
        "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    ],
)
def test_a_stuck_process_shows_where(what: str) -> None:
    fd = stacks.new_dump_file()
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(what=what), str(fd)], pass_fds=[fd], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stuck\n"
        for _ in range(2):
            process.send_signal(stacks.SIGNAL)
            assert "Current thread" in dumped(fd, lambda text: "in <module>" in text)
            assert "in here" in stacks.read_dump(fd)
            stacks.clear_dump(fd)
            assert stacks.read_dump(fd) == ""
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
        os.close(fd)


def test_a_fatal_signal_leaves_its_stack_there_too() -> None:
    fd = stacks.new_dump_file()
    what = "import signal; os.kill(os.getpid(), signal.SIGSEGV)"
    done = subprocess.run(
        [sys.executable, "-c", STUCK.format(what=what), str(fd)],
        pass_fds=[fd],
        check=False,
        capture_output=True,
    )
    assert done.returncode < 0
    assert "Segmentation fault" in stacks.read_dump(fd)
    assert "in here" in stacks.read_dump(fd)
    os.close(fd)


async def inner() -> None:
    await asyncio.Event().wait()


async def outer() -> None:
    await inner()


async def produce() -> AsyncIterator[int]:
    await inner()
    yield 1


async def consume() -> None:
    async for _ in produce():
        pass


def test_tasks_show_every_await_down_to_the_innermost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "TASK_LIMIT", 2)

    async def story() -> str:
        tasks = [asyncio.create_task(outer(), name=f"t{number}") for number in range(3)]
        await asyncio.sleep(0)
        text = stacks.task_stacks()
        for task in tasks:
            task.cancel()
        return text

    text = asyncio.run(story())
    assert "Task t0 (outermost await first):" in text
    assert (
        text.index("in outer")
        < text.index("in inner")
        < text.index("in Event.wait" if "in Event.wait" in text else "wait")
    )
    assert "... and 1 more tasks" in text


def test_a_task_inside_an_async_generator_is_shown_as_far_as_it_goes() -> None:
    async def story() -> str:
        task = asyncio.create_task(consume(), name="consumer")
        await asyncio.sleep(0)
        text = stacks.task_stacks()
        task.cancel()
        return text

    assert "in consume" in asyncio.run(story())
