"""What operators ask for and are answered, on a supervisor in memory."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import msgspec
import pytest

from hsrv.common.terms import Identity, Role
from hsrv.rpc import methods, operator
from hsrv.rpc.dispatcher import Context
from hsrv.rpc.messages import ErrorCode, RpcError
from hsrv.rpc.methods import ChildReport, Empty, Running
from hsrv.supervisor.operators import desk as desk_module
from hsrv.supervisor.operators.desk import PRESTOP_LIMIT, STACKS_LIMIT, OperatorDesk
from hsrv.supervisor.plan.state import ServerPhase
from tests.unit.status.test_rates import TOTALS, process, status
from tests.unit.supervisor.inmemory import InMemory

pytestmark = pytest.mark.anyio
RUNNING = Running(
    kind="stream", state="running", method="GET", path="/s", client="", request_id="", seconds=9.0
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Asking:
    """The context of a request: its progress is noted."""

    credentials = None

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def progress(self, step: str) -> None:
        self.steps.append(step)


class Child:
    """One that can be asked for its stacks."""

    pid = 4711

    def __init__(self, identity: Identity, threads: str = "threads", *, turns: bool = True) -> None:
        self.identity = identity
        self.threads = threads
        self.turns = turns

    async def thread_stacks(self) -> str:
        return self.threads

    async def task_stacks(self, *, timeout: float) -> str:
        if not self.turns:
            raise RpcError(ErrorCode.TIMEOUT, "no answer")
        return "tasks"


class Children:
    def __init__(self, server: InMemory) -> None:
        self._server = server
        self.living: dict[int, Child] = {}
        self.levels: list[str] = []

    def handle(self, identity: Identity) -> Child | None:
        return Child(identity) if id(identity) in self._server.hands.pids else None

    def set_log_level(self, level: str) -> None:
        self.levels.append(level)


class Replacement:
    pid = 99


class Upgrades:
    """Of which each ends at once, as it is told to."""

    adopts = True

    def __init__(self, server: InMemory) -> None:
        self._server = server
        self.replacement: Replacement | None = None
        self.error = ""

    def begin(self, operation: str) -> None:
        if not self.error:
            self.replacement = Replacement()
        self._server.told.operations.end(operation, self.error, "Traceback" if self.error else "")


class DeskServer:
    """A desk, and time that passes while it is asked."""

    def __init__(self) -> None:
        self.server = InMemory()
        self.children = Children(self.server)
        self.upgrades = Upgrades(self.server)
        self.accepted = 0
        self.reports: list[ChildReport] = []
        self.desk = OperatorDesk(
            self.server.loop,
            operations=self.server.told.operations,
            reloads=self.server.reloads,
            upgrades=self.upgrades,
            children=cast("Any", self.children),
            read_status=self._read_status,
        )
        self.asking = Asking()

    async def _read_status(self) -> operator.ServerStatus:
        processes = [msgspec.structs.replace(process(1), report=report) for report in self.reports]
        return status(1.0, *processes, counts={**TOTALS.counts, "accepted": self.accepted})

    async def ask(self, method: methods.Method[Any, Any], params: Any = None) -> Any:
        handler = self.desk.table()[method]
        answers: list[Any] = []

        async def work() -> None:
            try:
                answers.append(await handler(cast("Context", self.asking), params or method.params()))
            except RpcError as error:
                answers.append(error)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work)
                while not answers:
                    await anyio.lowlevel.checkpoint()
                    self.server.run(0.1)
        if isinstance(answers[0], RpcError):
            raise answers[0]
        return answers[0]


@pytest.fixture
def asked() -> DeskServer:
    asked = DeskServer()
    asked.server.serve()
    return asked


async def refused(work: Awaitable[Any]) -> RpcError:
    with pytest.raises(RpcError) as error:
        await work
    return error.value


async def test_a_reload_is_followed_until_it_serves(asked: DeskServer) -> None:
    result = await asked.ask(operator.RELOAD)
    assert result.generation == asked.server.serving() == 2
    assert asked.asking.steps[0] == "generation 2 starts"
    assert asked.server.said("reloading")[0].operation == result.reload_id


async def test_a_reload_with_wait_returns_when_the_old_generation_is_gone(asked: DeskServer) -> None:
    await asked.ask(operator.RELOAD, operator.ReloadParams(wait=True))
    assert list(asked.server.plan.generations) == [2]
    assert asked.asking.steps[-1] == "generation 2 serves; waiting for the old one"


async def test_a_reload_that_fails_is_answered_with_its_traceback(asked: DeskServer) -> None:
    asked.server.hands.broken = True
    error = await refused(asked.ask(operator.RELOAD))
    assert (error.code, error.message, error.data["traceback"]) == (
        ErrorCode.FAILED,
        "no module",
        "Traceback",
    )
    assert asked.server.serving() == 1


async def test_a_scale_is_answered_when_the_workers_serve(asked: DeskServer) -> None:
    result = await asked.ask(operator.SCALE, operator.ScaleParams(step=2))
    assert (result.before, result.workers) == (2, 4)
    assert [name for name in asked.server.alive() if "worker" in name] == [
        f"worker-{n}/1" for n in (1, 2, 3, 4)
    ]


async def test_no_workers_at_all_are_refused(asked: DeskServer) -> None:
    error = await refused(asked.ask(operator.SCALE, operator.ScaleParams(workers=0)))
    assert error.code == ErrorCode.REFUSED
    assert asked.server.plan.workers == 2


async def test_a_worker_is_replaced_by_one_that_serves(asked: DeskServer) -> None:
    before = asked.server.who("worker-1")
    result = await asked.ask(operator.RESTART_WORKER, operator.RestartParams(slot=1))
    assert (result.name, result.pid) == ("worker-1", Child.pid)
    serving = asked.server.plan.serving()
    assert serving is not None
    assert serving.children[Role.WORKER, 1].identity is not before


async def test_a_slot_that_there_is_not_fails(asked: DeskServer) -> None:
    error = await refused(asked.ask(operator.RESTART_WORKER, operator.RestartParams(slot=9)))
    assert error.message == "there is no worker-9 that serves"


@pytest.mark.parametrize("method", [operator.RELOAD, operator.UPGRADE, operator.SCALE])
async def test_nothing_is_begun_while_the_server_stops(
    asked: DeskServer, method: methods.Method[Any, Any]
) -> None:
    await asked.ask(operator.STOP)
    assert asked.server.plan.phase is ServerPhase.STOPPING
    assert (await refused(asked.ask(method))).code == ErrorCode.REFUSED


async def test_a_second_stop_is_no_second_signal_but_now_is(asked: DeskServer) -> None:
    asked.server.hands.hangs = True
    await asked.ask(operator.STOP)
    await asked.ask(operator.STOP)
    assert asked.server.alive(), "still within its budget"
    await asked.ask(operator.STOP, operator.StopParams(now=True))
    asked.server.run(1.0)
    asked.server.check_over()


async def test_an_upgrade_leads_those_who_came_before_to_the_new_server(asked: DeskServer) -> None:
    result = await asked.ask(operator.UPGRADE)
    assert (result.pid, result.adopts) == (Replacement.pid, True)
    error = await refused(asked.ask(operator.STATUS))
    assert (error.code, error.data) == (ErrorCode.MOVED, {"pid": Replacement.pid})
    assert await asked.ask(operator.PING) == Empty()


async def test_an_upgrade_that_fails_says_why(asked: DeskServer) -> None:
    asked.upgrades.error = "the new server died"
    error = await refused(asked.ask(operator.UPGRADE))
    assert (error.message, error.data) == ("the new server died", {"traceback": "Traceback"})


async def test_readiness_is_held_and_released(asked: DeskServer) -> None:
    held = await asked.ask(operator.HOLD, operator.HoldParams(held=True))
    assert (held.ready, held.not_ready_because) == (False, "drained by the operator")
    assert (await asked.ask(operator.HOLD, operator.HoldParams(held=False))).ready


async def test_a_prestop_waits_for_quiet_and_names_what_runs(asked: DeskServer) -> None:
    asked.reports = [ChildReport(running=99, oldest=[RUNNING] * 99, streams={})]
    params = operator.PrestopParams(delay=0.0, quiet=0.0, timeout=5.0)
    result = await asked.ask(operator.PRESTOP, params)
    assert result.quiet
    assert result.running == [RUNNING] * PRESTOP_LIMIT
    assert asked.server.plan.held


async def test_a_prestop_with_new_connections_to_the_end_is_not_quiet(
    asked: DeskServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "LOOK_INTERVAL", 0.001)
    read: Callable[[], Awaitable[operator.ServerStatus]] = asked._read_status

    async def busy() -> operator.ServerStatus:
        asked.accepted += 1
        return await read()

    monkeypatch.setattr(asked.desk, "_read_status", busy)
    params = operator.PrestopParams(delay=0.0, quiet=60.0, timeout=0.02, end_streams=True)
    result = await asked.ask(operator.PRESTOP, params)
    assert not result.quiet
    assert [one.details["why"] for one in asked.server.said("recycling")] == ["its streams are to end"]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("", ["pool-1", "worker-1", "worker-2"]),
        ("2", ["worker-2"]),
        ("pool", ["pool-1"]),
        ("worker-1", ["worker-1"]),
    ],
)
async def test_stacks_are_those_of_the_processes_meant(
    asked: DeskServer, target: str, names: list[str]
) -> None:
    wanted = [Identity(Role.WORKER, 2, 1), Identity(Role.WORKER, 1, 1), Identity(Role.POOL, 1, 1)]
    asked.children.living = {n: Child(one) for n, one in enumerate(wanted)}
    result = await asked.ask(operator.STACKS, operator.StacksParams(target=target))
    assert [one.name for one in result.processes] == names
    assert {(one.threads, one.tasks, one.note) for one in result.processes} == {("threads", "tasks", "")}


async def test_stacks_of_nobody_are_refused(asked: DeskServer) -> None:
    error = await refused(asked.ask(operator.STACKS, operator.StacksParams(target="worker-9")))
    assert error.code == ErrorCode.REFUSED


async def test_stacks_are_bounded_and_what_is_missing_is_explained(asked: DeskServer) -> None:
    long = "x" * STACKS_LIMIT
    asked.children.living = {
        1: Child(Identity(Role.WORKER, 1, 1), long, turns=False),
        2: Child(Identity(Role.WORKER, 2, 1), ""),
    }
    one, two = (await asked.ask(operator.STACKS)).processes
    assert len(one.threads) == STACKS_LIMIT // 4
    assert "event loop" in one.note
    assert two.note.startswith("it did not react")


async def test_the_log_level_is_that_of_all(asked: DeskServer) -> None:
    await asked.ask(operator.LOG_LEVEL, operator.LogLevelParams(level="debug"))
    assert asked.children.levels == ["debug"]


def test_every_method_of_the_table_is_answered(asked: DeskServer) -> None:
    assert set(asked.desk.table()) == set(operator.METHODS)
