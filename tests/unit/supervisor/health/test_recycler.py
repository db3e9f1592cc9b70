"""What is done about old and large workers, and large pools: a real plan and a group's files, memory as it is told."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hsrv.common.terms import Identity, Role
from hsrv.options.config import Config
from hsrv.supervisor.health import recycler
from hsrv.supervisor.health.recycler import SHARED_KEPT, Recycler, proportional_memory, resident_memory
from hsrv.supervisor.plan.actions import Actions
from hsrv.supervisor.plan.fleet import Budgets
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.recycling import PRESSURE_PAUSE
from hsrv.supervisor.plan.settings import Settings
from hsrv.supervisor.reports.listeners import ServerReports
from hsrv.supervisor.runtime.loop import Loop
from hsrv.system.cgroupmemory import MemoryGroup

LIMIT = 1000
POOL = 99
BUDGETS = Budgets(startup=60, graceful=30, stream_grace=10, lifespan_shutdown=10, drain_delay=0, handoff=5)


class Asked(Plan):
    """Notes who is to be replaced."""

    asked: list[str]

    def recycle(self, identity: Identity, reason: str, why: str, now: float) -> Actions:
        self.asked.append(identity.name)
        return ()


class Server:
    """What it uses of the supervisor: two workers, whose pids are their slots, and maybe a pool, whose pid is POOL."""

    def __init__(self, config: Config, directory: Path, pools: int = 0) -> None:
        self.config = config
        self.directory = directory
        self.told = ServerReports()
        self.plan = Asked(Settings(budgets=BUDGETS, stop_budgets=BUDGETS, workers=2, pools=pools))
        self.plan.asked = []
        self.plan.start(0.0)
        self.plan.template_ready(1, 0.0)
        self.children: dict[int, Any] = {}
        for child in self.plan.generations[1].everyone():
            identity = child.identity
            pid = identity.slot if identity.role is Role.WORKER else POOL
            self.plan.child_ready(identity, 0.0)
            self.children[pid] = SimpleNamespace(
                identity=identity, pid=pid, forked_at=0.0, baseline=40, config=config
            )
        self.used(100)
        loop = Loop(self.plan, self.told.stream.tell)
        group = MemoryGroup(directory, {"": "/"})
        self.recycler = Recycler(loop, self.children, group, lambda: self.config.memory_pressure)

    def used(self, used: int) -> None:
        """By the group."""
        (self.directory / "memory.current").write_text(str(used))
        (self.directory / "memory.max").write_text(str(LIMIT))

    def asked(self) -> list[str]:
        """For whose replacement, since we asked last."""
        names, self.plan.asked = self.plan.asked, []
        return names

    def warnings(self) -> list[str]:
        return [event.event for event in self.told.timeline if event.level == "warning"]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Resident bytes by pid; half of them are shared."""
    held = {1: 50, 2: 60, POOL: 50}
    monkeypatch.setattr(recycler, "resident_memory", held.__getitem__)
    monkeypatch.setattr(recycler, "proportional_memory", lambda pid, resident: resident // 2)
    return held


def test_who_holds_too_much_of_his_own_is_replaced(tmp_path: Path, memory: dict[int, int]) -> None:
    server = Server(Config(worker_max_memory=100, memory_pressure=0), tmp_path)
    memory[2] = 180
    server.recycler.look(1.0)
    assert server.asked() == [], "half of it is not his own"
    memory[2] = 200
    server.recycler.look(2.0)
    assert server.asked() == ["worker-2"], (
        "what he shares is not looked up again, but what he has grown by counts"
    )
    memory[2] = 300
    server.recycler.look(2.0 + SHARED_KEPT)
    assert server.asked() == ["worker-2"]


def test_a_limit_below_what_a_fresh_worker_holds_is_told_once(tmp_path: Path, memory: dict[int, int]) -> None:
    server = Server(Config(worker_max_memory=15, memory_pressure=0), tmp_path)
    for child in server.children.values():
        child.baseline = 50
    for second in range(1, 60):
        server.recycler.look(float(second))
    assert server.asked() == []
    assert server.warnings() == ["worker is too large from its start on"]


def test_limits_are_those_that_a_worker_was_started_with(tmp_path: Path, memory: dict[int, int]) -> None:
    server = Server(Config(memory_pressure=0), tmp_path)
    server.config = Config(memory_pressure=0, worker_max_age=1)
    server.recycler.look(100.0)
    assert server.asked() == []
    server.children[1].config = server.config
    server.recycler.look(100.0)
    assert server.asked() == ["worker-1"]


def test_under_pressure_the_one_that_has_grown_most_goes(tmp_path: Path, memory: dict[int, int]) -> None:
    server = Server(Config(memory_pressure=0.9), tmp_path)
    memory.update({1: 300, 2: 240})
    server.recycler.look(1.0)
    assert server.asked() == []
    server.used(950)
    server.recycler.look(2.0)
    server.recycler.look(3.0)
    assert server.asked() == ["worker-1"]
    server.used(920)
    server.recycler.look(2.0 + PRESSURE_PAUSE)
    assert server.asked() == ["worker-1"]
    assert server.warnings() == [], "it helped"


def test_under_pressure_a_pool_goes_when_it_is_the_one_that_has_grown_most(
    tmp_path: Path, memory: dict[int, int]
) -> None:
    server = Server(Config(memory_pressure=0.9, worker_max_memory=200, worker_max_age=1), tmp_path, pools=1)
    for child in server.children.values():
        if child.pid != POOL:
            child.config = Config()
    memory.update({1: 300, POOL: 800})
    server.recycler.look(1000.0)
    assert server.asked() == [], "the limits of workers are not a pool's"
    server.used(950)
    server.recycler.look(1001.0)
    assert server.asked() == ["pool-1"]


def test_pressure_that_no_replacement_eases_is_told_once(tmp_path: Path, memory: dict[int, int]) -> None:
    server = Server(Config(memory_pressure=0.9), tmp_path)
    memory[1] = 300
    server.used(950)
    replaced = 0
    for second in range(1000):
        server.recycler.look(float(second))
        replaced += len(server.asked())
    assert replaced == 6
    assert server.warnings() == ["memory pressure stays"]


def test_pressure_of_which_no_worker_is_the_cause_is_told_once(
    tmp_path: Path, memory: dict[int, int]
) -> None:
    server = Server(Config(memory_pressure=0.9), tmp_path)
    server.used(950)
    for second in range(100):
        server.recycler.look(float(second))
    assert server.asked() == []
    assert server.warnings() == ["memory pressure stays"]
    server.used(100)
    server.recycler.look(101.0)
    server.used(950)
    server.recycler.look(102.0)
    assert server.warnings() == 2 * ["memory pressure stays"], "of each time"


def test_what_a_real_process_holds() -> None:
    resident = resident_memory(os.getpid())
    assert 0 < proportional_memory(os.getpid(), resident) <= resident
