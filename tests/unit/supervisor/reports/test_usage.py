"""What real processes take of the machine."""

import os
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable

import anyio
import pytest

from hsrv.common.terms import Role
from hsrv.supervisor.plan.fleet import Key
from hsrv.supervisor.reports import usage as module
from hsrv.supervisor.reports.resources import Usage
from hsrv.supervisor.reports.usage import UsageReader

BURN = "import sys, time\nwhile time.process_time() < 0.2: pass\nprint('burnt', flush=True)\nsys.stdin.read()"
WORKER = Role.WORKER, 1


def run(story: Callable[[], Awaitable[None]]) -> None:
    anyio.run(story)


def burner() -> "subprocess.Popen[bytes]":
    one = subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert one.stdout is not None
    assert one.stdout.readline() == b"burnt\n"
    return one


def test_cpu_time_stays_with_the_slot_when_a_process_ends() -> None:
    async def story() -> None:
        people: dict[int, Key] = {}
        reader = UsageReader(lambda: dict(people))
        taken = 0.0
        for _ in range(2):
            with burner() as one:
                people = {one.pid: WORKER}
                found = await reader.read()
                assert found.by_pid[one.pid].rss > 1 << 20
                assert found.by_pid[one.pid].descriptors
                assert found.cpu_seconds[WORKER] >= taken + 0.15
                taken = found.cpu_seconds[WORKER]
                one.kill()
        people = {}
        found = await reader.read()
        assert found.by_pid == {}
        assert found.cpu_seconds == {WORKER: taken}

    run(story)


def test_without_a_free_descriptor_what_was_seen_last_stands() -> None:
    async def story() -> None:
        with burner() as one:
            people: dict[int, Key] = {one.pid: WORKER}
            reader = UsageReader(lambda: dict(people))
            before = await reader.read()
            people[os.getpid()] = (Role.POOL, 1)  # somebody new: it must look again
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            try:
                found = await reader.read()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert found.by_pid == before.by_pid
            people = {**people}
            reader = UsageReader(lambda: dict(people))
            assert set((await reader.read()).by_pid) == {one.pid, os.getpid()}
            one.kill()

    run(story)


def test_the_system_is_asked_once_for_many_who_want_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    look = module._usage_of

    def counted(one: module._Known) -> Usage:
        looks.append(1)
        return look(one)

    monkeypatch.setattr(module, "_usage_of", counted)

    async def story() -> None:
        with burner() as one:
            reader = UsageReader(lambda: {one.pid: WORKER})
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(reader.read)
            assert looks == [1]
            one.kill()

    run(story)


def test_who_is_gone_is_no_error() -> None:
    async def story() -> None:
        with burner() as one:
            one.kill()
        assert (await UsageReader(lambda: {one.pid: WORKER}).read()).by_pid == {}

    run(story)
