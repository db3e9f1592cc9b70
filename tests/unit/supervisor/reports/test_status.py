"""A status from a plan, reports and boards: how often it is read, and what it has of a process that is silent."""

import os
from collections.abc import Iterator
from typing import Any, cast

import anyio
import pytest

from hsrv.board.layout import Count
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.board.snapshot import Snapshot
from hsrv.common.terms import Identity, Role
from hsrv.rpc.methods import ChildReport
from hsrv.supervisor.reports import status as status_module
from hsrv.supervisor.reports.status import StatusReader
from hsrv.supervisor.reports.timeline import Timeline
from hsrv.supervisor.reports.totals import ServerTotals
from tests.unit.supervisor.plan.fleets import Fleet

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Handle:
    """A child that answers, unless it is busy."""

    counted = False
    forked_at = 0.0

    def __init__(self, identity: Identity, *, busy: bool = False) -> None:
        self.identity = identity
        self.busy = busy
        self.asked = 0
        self.fd = new_board()
        Scoreboard(self.fd).count(Count.ACCEPTED, 5)

    def look(self) -> Snapshot | None:
        return read_board(self.fd)

    async def report(self, tasks: object, *, timeout: float) -> ChildReport | None:
        self.asked += 1
        if self.busy:
            raise TimeoutError
        return ChildReport(running=3, oldest=[], streams={}, accepted=99)


class Reading:
    def __init__(self) -> None:
        fleet = Fleet()
        fleet.serve()
        self.fleet = fleet
        self.handles = {
            100: Handle(fleet.who("worker-1")),
            101: Handle(fleet.who("worker-2"), busy=True),
            102: Handle(fleet.who("pool-1")),
        }
        self.reader = StatusReader(
            fleet.plan,
            [],
            cast("Any", self.handles),
            ServerTotals(),
            Timeline(),
            template_pids={1: 99},
            log_level=lambda: "info",
        )
        self.reader.tasks = cast("Any", None)


@pytest.fixture
def reading() -> Iterator[Reading]:
    reading = Reading()
    yield reading
    for handle in reading.handles.values():
        os.close(handle.fd)


async def test_one_that_is_silent_is_shown_by_its_board(reading: Reading) -> None:
    found = await reading.reader.read()
    pool, worker, silent = found.generations[0].processes
    assert [one.name for one in (pool, worker, silent)] == ["pool-1", "worker-1", "worker-2"]
    assert (worker.answers, silent.answers, silent.report) == (True, False, None)
    assert worker.report is not None
    assert (worker.report.running, worker.report.accepted) == (3, 5), "it is counted on the board"
    assert silent.board is not None
    assert found.totals["worker"].counts["accepted"] == 10


async def test_an_answer_is_used_again_until_something_changes(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "STATUS_TTL", 60.0)
    first = await reading.reader.read()
    assert await reading.reader.read() is first
    reading.reader.forget()
    assert await reading.reader.read() is not first
    assert reading.handles[100].asked == 2


async def test_many_who_ask_at_once_cost_as_much_as_one(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "STATUS_TTL", 60.0)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(reading.reader.read)
    assert reading.handles[100].asked == 1


async def test_one_that_was_counted_after_its_end_is_not_counted_twice(reading: Reading) -> None:
    reading.handles[100].counted = True
    totals = reading.reader.totals()
    assert (Role.WORKER, 1) not in totals
    assert totals[Role.WORKER, 2].count(Count.ACCEPTED) == 5


def test_every_process_has_a_slot(reading: Reading) -> None:
    slots = reading.reader.slots()
    assert slots[99] == (Role.TEMPLATE, 0)
    assert slots[102] == (Role.POOL, 1)
    assert list(slots.values()).count((Role.SUPERVISOR, 0)) == 1
