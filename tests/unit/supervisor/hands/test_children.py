"""What workers and pools are told and say, and how their end is told once."""

import signal

import anyio
import pytest

from hsrv.common.terms import DeathReason, Role
from hsrv.ipc.messages import Forked
from hsrv.supervisor.plan import actions
from hsrv.supervisor.runtime.reports import ProcessExited, ProcessReaped
from tests.unit.supervisor.hands.hands import READY, Kills, serving, speak, told, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def kills(monkeypatch: pytest.MonkeyPatch) -> Kills:
    return Kills(monkeypatch)


async def test_what_one_has_learned_the_others_are_told_once() -> None:
    async with serving() as server:
        await server.serve()
        worker, pool = server.child(Role.WORKER), server.child(Role.POOL)
        speak(worker, "learned", patterns=["/a", "/b"])
        assert (await told(pool, "learned"))["patterns"] == ["/a", "/b"]
        assert server.hands.children.patterns_known() == ["/a", "/b"]
        assert server.hands.children.learn(["/b", "/c"]) == ["/c"]
        speak(pool, "learned", patterns=["/d"])
        assert (await told(worker, "learned"))["patterns"] == ["/d"], "not its own"


async def test_the_log_level_is_set_in_every_process_and_in_those_that_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours: list[str] = []
    monkeypatch.setattr("hsrv.supervisor.hands.children.set_level", ours.append)
    async with serving() as server:
        await server.serve()
        server.hands.children.set_log_level("debug")
        for child in server.hands.children.living.values():
            assert await told(child, "log_level") == {"level": "debug"}
        assert ours == ["debug"]
        server.forked(server.start("r1"))
        template = server.newest()
        server.says(template, READY)
        server.forked(template)
        for child in template.children:
            speak(child, "ready", pid=child.pid, lifespan=True)
        assert (await told(template.children[0], "serve"))["level"] == "debug"


async def test_only_the_generation_of_a_lost_pool_is_told() -> None:
    async with serving() as server:
        await server.serve()
        worker = server.child(Role.WORKER)
        server.hands.perform(actions.PoolAvailable(2, available=True))
        server.hands.perform(actions.PoolAvailable(1, available=False))
        assert await told(worker, "pool_available") == {"available": False}


async def test_an_end_is_counted_and_told_once() -> None:
    async with serving() as server:
        await server.serve()
        worker = server.child(Role.WORKER)
        for _ in range(2):
            server.hands.children.exited(worker.pid, signal.SIGSEGV)
        worker.theirs.close()
        await until(lambda: bool(server.of(ProcessReaped)))
        [reaped] = server.of(ProcessReaped)
        assert (reaped.death, reaped.cause) == ("was killed by SIGSEGV", DeathReason.SIGNAL)
        assert not reaped.expected
        assert len(server.of(ProcessExited)) == 1
        assert server.unknown_exits == [(worker.pid, signal.SIGSEGV)], "the second time it is nobody's"


async def test_a_kill_of_ours_is_the_reason_of_a_death(kills: Kills) -> None:
    async with serving() as server:
        await server.serve()
        worker = server.child(Role.WORKER)
        server.hands.perform(actions.Kill(worker.identity, DeathReason.HUNG, "it hangs"))
        assert kills.pids == [worker.pid]
        server.hands.children.exited(worker.pid, signal.SIGKILL)
        assert (worker.reason, worker.death) == (DeathReason.HUNG, "was killed: it hangs")


@pytest.mark.parametrize("reason", [DeathReason.STARTUP_TIMEOUT, DeathReason.DRAIN_TIMEOUT])
async def test_the_stacks_of_a_late_one_are_logged_first(reason: DeathReason, kills: Kills) -> None:
    async with serving() as server:
        await server.serve()
        worker = server.child(Role.WORKER)
        server.hands.perform(actions.Kill(worker.identity, reason, "late"))
        await until(lambda: bool(server.diagnostics.late))
        assert server.diagnostics.late == [("worker-1", reason)]
        assert kills.pids == []


async def test_a_fork_that_fails_is_an_end() -> None:
    async with serving() as server:
        template = server.start()
        server.says(template, READY)
        pool = template.children[0]
        server.says(template, Forked(identity=pool.identity, pid=0, error="no memory"))
        assert pool.death == "could not be forked: no memory"
        assert pool.reason is DeathReason.NOT_FORKED


async def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    async with serving() as server:
        template = await server.serve()
        identity = template.children[0].identity
        server.hands.children.forked(identity, 4711, "")
        assert 4711 not in server.hands.children.living


async def test_a_failure_ends_the_start_with_its_traceback() -> None:
    async with serving() as server:
        template = server.start()
        server.says(template, READY)
        server.forked(template)
        speak(template.children[1], "failed", stage="lifespan", message="no database", traceback="Traceback")
        await until(lambda: bool([one for one in server.of(actions.LogLine) if one.level == "error"]))
        [line] = [one for one in server.of(actions.LogLine) if one.level == "error"]
        assert line.details == {"error": "no database", "exception": "Traceback"}


async def test_one_whose_channel_ends_is_reported_silent_and_awaited() -> None:
    async with serving() as server:
        await server.serve()
        worker = server.child(Role.WORKER)
        before = server.plan.next_at()
        worker.theirs.close()
        await until(lambda: server.plan.next_at() < before)
        await anyio.wait_all_tasks_blocked()
        assert not server.of(ProcessReaped), "it has not ended"
        server.hands.children.exited(worker.pid, 0)
        await until(lambda: bool(server.of(ProcessReaped)))
