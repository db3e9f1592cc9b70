"""A watcher of files under test: what it tells, and its threads."""

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from hsrv.develop.watchrules import WatchRules
from hsrv.supervisor.develop import watch as watching
from hsrv.supervisor.develop.watch import Watcher

DEADLINE = 10.0


def age(path: Path) -> None:
    """Make it an old file: one that was written this moment may be told once more."""
    os.utime(path, (time.time() - 60, time.time() - 60))


class Changes:
    """What a watch has told."""

    def __init__(self) -> None:
        self.calls: list[frozenset[Path]] = []
        self.at: list[float] = []
        self._more = anyio.Event()

    def __call__(self, changed: frozenset[Path]) -> None:
        self.calls.append(changed)
        self.at.append(time.monotonic())
        self._more.set()

    @property
    def paths(self) -> set[Path]:
        return set().union(*self.calls)

    async def until(self, is_enough: Callable[["Changes"], bool]) -> None:
        with anyio.fail_after(DEADLINE):
            while not is_enough(self):
                self._more = anyio.Event()
                await self._more.wait()

    async def more_than(self, count: int) -> None:
        await self.until(lambda told: len(told.calls) > count)

    async def of(self, *paths: Path) -> None:
        await self.until(lambda told: told.paths >= set(paths))


@asynccontextmanager
async def watched(rules: WatchRules, *, native: bool = True) -> AsyncIterator[tuple[Changes, Watcher]]:
    """A watch that hears already: it has told of a file that was made for this."""
    told = Changes()
    watcher = Watcher(rules, told)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        await hears(rules, told)
        assert native == bool(notify_threads())
        yield told, watcher
        tasks.cancel_scope.cancel()


async def hears(rules: WatchRules, told: Changes) -> None:
    probe = rules.app_dir / "probe.py"
    with anyio.fail_after(DEADLINE):
        while probe not in told.paths:
            await to_thread.run_sync(probe.write_text, f"{time.monotonic_ns()}\n")
            with anyio.move_on_after(0.2):
                await told.of(probe)
    await quiet(told)
    told.calls.clear()
    told.at.clear()


async def quiet(told: Changes) -> None:
    """Nothing is told for a while."""
    count = -1
    while count != len(told.calls):
        count = len(told.calls)
        with anyio.move_on_after(3 * watching.BACK_SOON):
            await told.more_than(count)


def notify_threads() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:
            continue
    return [name for name in names if name.startswith("notify-rs")]


async def in_thread(function: Callable[..., Any], *args: Any) -> None:
    await to_thread.run_sync(partial(function, *args))
