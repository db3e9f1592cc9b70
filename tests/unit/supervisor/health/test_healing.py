"""The look-out over the scoreboards: real boards and a real plan, processes that are none, time as it is told."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import anyio
import msgspec
import psutil
import pytest
from anyio.lowlevel import checkpoint
from structlog.testing import capture_logs

from hsrv.board import stacks
from hsrv.board.layout import Occupant
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.board.snapshot import Snapshot
from hsrv.common.terms import DeathReason, Identity
from hsrv.options.config import Config
from hsrv.supervisor.health import healing, recycler
from hsrv.supervisor.health.healing import INTERVAL, LATE, HangMonitor
from hsrv.supervisor.plan.actions import Action, ForkChild, Kill
from hsrv.supervisor.plan.fleet import Budgets, ChildState
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.settings import Settings
from hsrv.supervisor.reports.listeners import ServerReports
from hsrv.supervisor.runtime.errorlog import REMINDER
from hsrv.supervisor.runtime.loop import Hands, Loop
from hsrv.system.cgroupmemory import MemoryGroup

DEADLINE = 20.0
START = 1000.0
CONFIG = Config(app="a:b", gil_timeout=3.0, hang_grace=5.0, memory_pressure=0)
BUDGETS = Budgets(startup=60, graceful=30, stream_grace=10, lifespan_shutdown=10, drain_delay=0, handoff=5)


class Process:
    """What the monitor uses of a child: it has a board, but no process."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.config = CONFIG
        self.pid = os.getpid()
        self.forked_at = START
        self.baseline = 0
        self.fd = new_board()
        self.board = Scoreboard(self.fd)
        self.may_tell = anyio.Event()
        """Set: its stacks are there."""
        self.may_tell.set()
        self.error: Exception | None = None
        self.killed: list[tuple[DeathReason, str]] = []

    def look(self) -> Snapshot | None:
        return read_board(self.fd)

    async def thread_stacks(self) -> str:
        await self.may_tell.wait()
        if self.error is not None:
            raise self.error
        return "the stacks"

    async def task_stacks(self, *, timeout: float) -> str:
        return "the tasks"

    def kill(self, reason: DeathReason, why: str) -> None:
        self.killed.append((reason, why))

    def stands_still(self, since: float) -> None:
        self.board.thread_beat(since)
        self.board.loop_beat(since, 0.0)


class Noting(Hands):
    """Performs nothing."""

    def __init__(self, done: list[Action]) -> None:
        self.done = done

    def perform(self, action: Action) -> None:
        self.done.append(action)


@dataclass
class Server:
    """What the monitor uses of a server."""

    config: Config
    plan: Plan
    children: dict[int, Process] = field(default_factory=dict)
    told: ServerReports = field(default_factory=ServerReports)
    done: list[Action] = field(default_factory=list)
    now: float = START

    def __post_init__(self) -> None:
        self.loop = Loop(self.plan, self.told.stream.tell, lambda: self.now)
        self.loop.hands = Noting(self.done)
        self.totals, self.perform = self.told.totals, self.loop.perform

    def monitor(self) -> HangMonitor:
        pressure = lambda: self.config.memory_pressure  # noqa: E731  # asked each time
        return HangMonitor(self.loop, cast("Any", self.children), MemoryGroup(), pressure)

    def kills(self) -> list[str]:
        return [action.identity.name for action in self.done if isinstance(action, Kill)]

    def events(self) -> list[str]:
        """Without what the plan says."""
        return [
            event.event for event in self.told.timeline if event.event in ("process hangs", "process goes on")
        ]

    @property
    def worker(self) -> Process:
        return self.children[1]

    async def pass_time(self, monitor: HangMonitor, seconds: float) -> None:
        """In rounds; what these start has a turn after each."""
        end = self.now + seconds
        while self.now < end:
            self.now += INTERVAL
            monitor.round(self.now, self.now)
            await checkpoint()
            await checkpoint()


@pytest.fixture
def server() -> Iterator[Server]:
    """One worker, which serves."""
    plan = Plan(Settings(budgets=BUDGETS, stop_budgets=BUDGETS, workers=1, pools=0))
    server = Server(CONFIG, plan)
    server.perform(plan.start(START))
    server.perform(plan.template_ready(1, START))
    [child] = plan.generations[1].everyone()
    server.perform(plan.child_ready(child.identity, START))
    assert child.state is ChildState.SERVING
    server.children[1] = Process(child.identity)
    yield server
    for process in server.children.values():
        os.close(process.fd)


def heal(server: Server, scenario: Callable[[HangMonitor], Any]) -> list[Any]:
    """Run it; what was logged."""

    async def run() -> None:
        async with anyio.create_task_group() as server.loop.tasks:
            with anyio.fail_after(DEADLINE):
                await scenario(server.monitor())

    with capture_logs() as lines:
        anyio.run(run)
    return cast("list[Any]", lines)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await checkpoint()


# defects


def test_a_defect_in_a_round_is_told_and_the_next_round_comes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = server.worker.look

    async def scenario(monitor: HangMonitor) -> None:
        monkeypatch.setattr(server.worker, "look", lambda: 1 // 0)
        await server.pass_time(monitor, 1.0)
        monkeypatch.setattr(server.worker, "look", look)
        server.worker.stands_still(server.now - 4)
        await server.pass_time(monitor, 1.0)

    lines = heal(server, scenario)
    assert "defect in healing" in [line["event"] for line in lines]
    assert "process hangs" in server.events()


def test_a_defect_in_every_round_is_told_once_and_then_once_a_minute(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(monitor: HangMonitor) -> None:
        monkeypatch.setattr(server.worker, "look", lambda: 1 // 0)
        await server.pass_time(monitor, 10 * REMINDER)

    lines = heal(server, scenario)
    assert [line["event"] for line in lines] == ["defect in healing"] + ["defect in healing goes on"] * 9
    assert "exc_info" in lines[0]
    rounds = int(REMINDER / INTERVAL)
    assert [line["times"] for line in lines[1:]] == [rounds - 1] + [rounds] * 8
    for line in lines[1:]:
        assert "exc_info" not in line
        assert "ZeroDivisionError" in line["error"]
        assert __file__ in line["where"]


def test_who_has_no_stacks_for_a_defect_is_killed_all_the_same(server: Server) -> None:
    server.worker.error = OSError(24, "Too many open files")

    async def scenario(monitor: HangMonitor) -> None:
        child = cast("Any", server.worker)
        server.loop.tasks.start_soon(monitor.kill_with_stacks, child, DeathReason.DRAIN_TIMEOUT, "late")

    lines = heal(server, scenario)
    assert server.worker.killed == [(DeathReason.DRAIN_TIMEOUT, "late")]
    assert [line["event"] for line in lines] == ["defect in healing"]


def test_a_report_that_fails_ends_nothing(server: Server) -> None:
    server.worker.error = OSError(24, "Too many open files")

    async def scenario(monitor: HangMonitor) -> None:
        server.worker.stands_still(server.now - 4)
        await server.pass_time(monitor, 1.0)

    assert "defect in healing" in [line["event"] for line in heal(server, scenario)]


def test_without_descriptors_the_state_of_a_process_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(pid: int) -> psutil.Process:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(psutil, "Process", full)
    assert healing._state(1) == "unknown"
    assert recycler.resident_memory(1) == 0
    assert recycler.proportional_memory(1, 5) == 5


# hangs


def test_who_goes_on_is_told(server: Server) -> None:
    async def scenario(monitor: HangMonitor) -> None:
        server.worker.stands_still(server.now - 4)
        await server.pass_time(monitor, 1.0)
        server.worker.stands_still(server.now)
        await server.pass_time(monitor, 1.0)

    heal(server, scenario)
    assert server.events() == ["process hangs", "process goes on"]
    assert server.totals.hangs == {("worker", "gil_held"): 1}
    assert server.kills() == []


@pytest.mark.parametrize("state", [ChildState.KILLED, ChildState.DISMISSED])
def test_who_ends_does_not_go_on(server: Server, state: ChildState) -> None:
    async def scenario(monitor: HangMonitor) -> None:
        server.worker.stands_still(server.now - 4)
        await server.pass_time(monitor, 1.0)
        child = server.plan.find(server.worker.identity)
        assert child is not None
        child.state = state
        await server.pass_time(monitor, 2.0)

    heal(server, scenario)
    assert server.events() == ["process hangs"]


def test_who_was_killed_for_it_does_not_go_on(server: Server) -> None:
    async def scenario(monitor: HangMonitor) -> None:
        server.worker.stands_still(server.now - 4)
        await server.pass_time(monitor, 1.0)
        await server.pass_time(monitor, 10.0)

    heal(server, scenario)
    assert server.kills() == ["worker-1"]
    assert server.events() == ["process hangs"]


async def hangs(server: Server, monitor: HangMonitor) -> None:
    server.worker.stands_still(server.now - 4)
    await server.pass_time(monitor, 1.0)


@pytest.mark.parametrize("error", [None, OSError(24, "Too many open files")])
def test_nothing_is_done_before_the_stacks_are_taken(server: Server, error: OSError | None) -> None:
    server.worker.config = msgspec.structs.replace(CONFIG, hang_grace=0.0)
    server.worker.may_tell = anyio.Event()
    server.worker.error = error

    async def scenario(monitor: HangMonitor) -> None:
        await hangs(server, monitor)
        assert server.kills() == []
        server.worker.may_tell.set()
        await server.pass_time(monitor, 1.0)
        assert server.kills() == ["worker-1"]

    heal(server, scenario)


def test_a_worker_with_a_stuck_call_is_replaced_once_there_is_a_template_again(server: Server) -> None:
    server.perform(server.plan.template_gone(1, "was killed", START))
    server.worker.board.stuck(Occupant(START - 9, "GET", b"/stuck", "", b""))

    def forked() -> list[ForkChild]:
        return [action for action in server.done if isinstance(action, ForkChild)][1:]

    async def scenario(monitor: HangMonitor) -> None:
        await server.pass_time(monitor, 2.0)
        assert forked() == []
        server.perform(server.plan.tick(server.now))
        server.perform(server.plan.template_ready(1, server.now))
        [fork] = forked()
        server.perform(server.plan.child_exited(fork.identity, "exited with code 3", server.now))
        await server.pass_time(monitor, 2.0)
        assert len(forked()) == 2, "its replacement may fail"

    heal(server, scenario)
    assert server.events() == ["process hangs"]


def test_there_is_a_grace_between_the_report_and_what_follows(server: Server) -> None:
    async def scenario(monitor: HangMonitor) -> None:
        await hangs(server, monitor)
        await server.pass_time(monitor, CONFIG.hang_grace - 1.0)
        assert server.kills() == []
        await server.pass_time(monitor, 1.0)
        assert server.kills() == ["worker-1"]

    lines = heal(server, scenario)
    assert [line["stacks"] for line in lines if line["event"] == "process hangs"] == ["the stacks"]


def test_after_a_time_in_which_we_did_not_run_nobody_is_judged_until_it_may_have_run(server: Server) -> None:
    async def scenario(monitor: HangMonitor) -> None:
        server.worker.stands_still(server.now)
        server.now += LATE + 4
        monitor.round(server.now - LATE - 3, server.now)
        await server.pass_time(monitor, LATE + 2.5)
        assert server.events() == []
        await server.pass_time(monitor, 1.0)
        assert server.events() == ["process hangs"], "it had its time"

    heal(server, scenario)


def test_a_process_is_judged_by_the_limits_that_it_was_started_with(server: Server) -> None:
    server.config = msgspec.structs.replace(CONFIG, gil_timeout=0.5)  # of a reload that is on its way

    async def scenario(monitor: HangMonitor) -> None:
        server.worker.stands_still(server.now)
        await server.pass_time(monitor, 2.5)
        assert server.events() == []
        await server.pass_time(monitor, 1.0)
        assert server.events() == ["process hangs"]

    heal(server, scenario)


async def hangs_and_is_left_alone(server: Server, monitor: HangMonitor) -> None:
    await hangs(server, monitor)
    await server.pass_time(monitor, 2 * CONFIG.hang_grace)
    assert server.events() == ["process hangs"]
    assert server.kills() == []


def test_in_development_nobody_is_killed_in_a_debugger(server: Server) -> None:
    server.worker.config = msgspec.structs.replace(CONFIG, reload=True)
    heal(server, lambda monitor: hangs_and_is_left_alone(server, monitor))


def test_a_process_that_somebody_has_stopped_is_left_to_him(server: Server) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            server.worker.pid = process.pid
            heal(server, lambda monitor: hangs_and_is_left_alone(server, monitor))
        finally:
            process.kill()


def test_a_crash_is_told_without_the_stacks_that_were_asked_for_before(server: Server) -> None:
    dump = stacks.new_dump_file()
    os.write(dump, b"Thread 0x1:\n  asked for\nFatal Python error: Segmentation fault\n\n  File...")
    child: Any = SimpleNamespace(dump=dump, reason=DeathReason.SIGNAL, identity=server.worker.identity, pid=7)

    async def scenario(monitor: HangMonitor) -> None:
        monitor.report_crash(child)

    [line] = heal(server, scenario)
    os.close(dump)
    assert line["stacks"] == "Fatal Python error: Segmentation fault\n\n  File..."
