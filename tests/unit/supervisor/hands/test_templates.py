"""Templates from their start to their end: late messages, ends that are not their own, and reuse in development."""

import pytest

from hsrv.common.terms import DeathReason
from hsrv.ipc.messages import PreloadUnsafe, TemplateFailed
from hsrv.supervisor.hands import templates
from hsrv.supervisor.plan.actions import LogLine
from hsrv.supervisor.plan.fleet import Gen
from tests.unit.supervisor.hands.hands import READY, Kills, Server, serving, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def kills(monkeypatch: pytest.MonkeyPatch) -> Kills:
    monkeypatch.setattr(templates, "TEMPLATE_EXIT_TIMEOUT", 0.01)
    return Kills(monkeypatch)


class Reuse:
    """Development: the template is kept as long as `keeps`."""

    keeps = True

    def keeps_template(self) -> bool:
        return self.keeps


def states(server: Server) -> list[Gen]:
    return [one.state for one in server.plan.generations.values()]


def errors(server: Server) -> list[str]:
    return [one.event for one in server.of(LogLine) if one.level == "error"]


async def test_one_that_can_not_be_started_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process(generation: int, environ: object) -> None:
        raise OSError("no memory")

    async with serving() as server:
        monkeypatch.setattr(templates, "TemplateHandle", no_process)
        server.loop.perform(server.plan.start(server.loop.now()))
        [line] = [one for one in server.of(LogLine) if one.level == "error" and "error" in one.details][:1]
        assert line.details["error"] == "the template could not be started: no memory while starting"


async def test_an_application_that_can_not_be_imported_fails_the_start() -> None:
    async with serving() as server:
        template = server.start()
        server.says(template, TemplateFailed(message="no module", traceback="Traceback"))
        assert "application could not be started" in errors(server)


async def test_an_unsafe_import_gets_a_template_that_imports_nothing_and_the_first_is_heard_no_more() -> None:
    async with serving() as server:
        first = server.start()
        server.says(first, PreloadUnsafe(reason="it has threads"))
        second = server.newest()
        assert second is not first
        server.says(first, READY)
        assert not first.is_ready
        assert second.children == []
        server.says(second, READY)
        assert second.is_ready
        assert len(second.children) == 2


async def test_one_that_does_not_quit_is_killed(kills: Kills) -> None:
    async with serving() as server:
        template = await server.serve()
        server.hands.templates.quit(1, stays=False)
        assert template.asked[-1] == "quit"
        assert kills.pids == [], "its children live"
        for child in template.children:
            server.hands.children.exited(child.pid, 0)
        await until(lambda: kills.pids == [template.pid])


async def test_one_that_closes_its_channel_is_killed_and_what_it_owes_is_given_up(kills: Kills) -> None:
    async with serving() as server:
        template = server.start()
        server.says(template, READY)
        template.silent.set()
        await until(lambda: kills.pids == [template.pid])
        assert [child.reason for child in template.children] == [DeathReason.NOT_FORKED] * 2
        assert Gen.SERVING not in states(server)


async def test_the_death_of_one_in_use_is_told_and_it_is_replaced() -> None:
    async with serving() as server:
        template = await server.serve()
        server.hands.templates.exited(template.pid, 256)
        assert errors(server) == ["template died"]
        server.loop.tick()
        assert server.newest() is not template
        assert server.newest().asked == ["boot"]


async def test_all_are_told_which_files_end_with_us() -> None:
    async with serving() as server:
        template = await server.serve()
        server.hands.templates.own_files()
        assert template.asked[-1] == "own"


async def test_in_development_the_template_goes_on_for_the_next_generation() -> None:
    async with serving(reuse := Reuse()) as server:
        template = await server.serve()
        assert server.start("r1") is template
        assert template.asked[-3:] == ["renew", "fork pool-1", "fork worker-1"]
        assert template.generation == 2
        assert reuse.keeps


async def test_in_development_a_stale_template_is_not_kept() -> None:
    async with serving(reuse := Reuse()) as server:
        template = await server.serve()
        reuse.keeps = False
        assert server.start("r1") is not template
        assert template.asked[-1] == "quit"
