"""The plan's actions on processes that are none: who is asked for what, and in which order the dead are collected."""

import signal

import anyio
import pytest

from hsrv.common.terms import DeathReason, Role
from hsrv.ipc.messages import Forked
from hsrv.supervisor.plan import actions
from hsrv.supervisor.runtime.reports import ProcessExited, ProcessReady, ProcessReaped, ProcessStarted
from tests.unit.supervisor.hands.hands import NO_PROCESS, READY, Kills, dead, serving, told, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def kills(monkeypatch: pytest.MonkeyPatch) -> Kills:
    return Kills(monkeypatch)


async def test_a_start_forks_pools_first_and_serves_when_all_are_ready() -> None:
    async with serving() as server:
        template = await server.serve()
        assert template.asked == ["boot", "fork pool-1", "fork worker-1"]
        for child in template.children:
            assert await told(child, "serve") == {"level": "info", "learned": []}
        assert len(server.of(ProcessStarted)) == len(server.of(ProcessReady)) == 2


async def test_a_stop_drains_collects_and_quits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        template = await server.serve()
        server.loop.perform(server.plan.stop(server.loop.now()))
        for child in template.children:
            assert (await told(child, "drain"))["adopt"] is False
        dead(monkeypatch, *((child.pid, 0) for child in template.children))
        server.hands.reap()
        for child in template.children:
            child.theirs.close()
        await until(lambda: server.loop.exit is not None)
        assert template.asked[-1] == "quit"
        assert [one.death for one in server.of(ProcessReaped)] == ["exited with code 0"] * 2
        assert all(one.expected for one in server.of(ProcessReaped))


async def test_what_a_template_said_last_is_heard_before_its_children_are_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as server:
        template = server.start()
        server.says(template, READY)
        pid = NO_PROCESS * 2
        template.said.append(Forked(identity=template.children[0].identity, pid=pid))
        dead(monkeypatch, (pid, signal.SIGKILL), (template.pid, signal.SIGKILL))
        server.hands.reap()
        assert server.unknown_exits == []
        assert [one.identity.name for one in server.of(ProcessExited)] == ["pool-1"]


async def test_a_process_of_nobody_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        dead(monkeypatch, (7, 256))
        server.hands.reap()
        assert server.unknown_exits == [(7, 256)]


async def test_a_child_that_was_not_forked_is_ended_with_its_template(kills: Kills) -> None:
    async with serving() as server:
        template = server.start()
        server.says(template, READY)
        child = template.children[0]
        server.hands.perform(actions.Kill(child.identity, DeathReason.STARTUP_TIMEOUT, "late"))
        assert kills.pids == [template.pid]
        assert child.reason is DeathReason.NOT_FORKED
        assert server.plan.serving() is None


async def test_an_action_for_a_process_that_is_gone_does_nothing() -> None:
    async with serving() as server:
        template = await server.serve()
        child = server.child(Role.WORKER)
        server.hands.children.exited(child.pid, 0)
        server.hands.perform(actions.Finish(child.identity))
        server.hands.perform(actions.Kill(child.identity, DeathReason.HUNG, "why"))
        assert "quit" not in template.asked


async def test_listeners_are_shut_down_when_every_worker_has_confirmed_its_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as server:
        await server.serve()
        refused = anyio.Event()
        monkeypatch.setattr("hsrv.supervisor.hands.hands.refuse_connections", lambda listeners: refused.set())
        server.hands.perform(actions.StopListening())
        await anyio.wait_all_tasks_blocked()
        assert not refused.is_set()
        server.child(Role.WORKER).draining.set()
        await refused.wait()


async def test_an_action_that_is_none_of_the_hands_is_a_defect() -> None:
    async with serving() as server:
        with pytest.raises(TypeError, match="Announce"):
            server.hands.perform(actions.Announce(1))
