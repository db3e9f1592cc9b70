"""The supervisor as a whole, in memory: each thing that is asked of it, at each moment."""

from collections.abc import Callable

import pytest

from hsrv.common.errors import ExitCode
from hsrv.options.config import Config
from hsrv.supervisor.plan.actions import Action, Actions, Kill
from hsrv.supervisor.plan.ending import KILL_TIMEOUT
from hsrv.supervisor.plan.state import ServerPhase
from tests.unit.supervisor.inmemory import DRAIN, IMPORT, STARTUP, InMemory

LONG = 500.0
"""Seconds in which everything comes to its end."""


def _serves(server: InMemory) -> None:
    server.serve()


def _reloads(server: InMemory, seconds: float = 0.0) -> None:
    server.serve().reload("before")
    server.run(seconds)


def _waits(server: InMemory) -> None:
    _reloads(server)
    server.reload("waits")


def _failed(server: InMemory) -> None:
    server.serve().hands.broken = True
    server.reload("before")
    server.run(IMPORT)
    server.hands.broken = False


def _decides(decide: Callable[[InMemory], Actions]) -> Callable[[InMemory], None]:
    def moment(server: InMemory) -> None:
        server.serve()
        server.loop.perform(decide(server))

    return moment


MOMENTS: dict[str, Callable[[InMemory], object]] = {
    "its template starts": lambda server: server.start(),
    "its processes start": lambda server: server.start().run(IMPORT),
    "it serves": _serves,
    "a reload imports": _reloads,
    "a reload's processes start": lambda server: _reloads(server, IMPORT),
    "the old generation drains": lambda server: _reloads(server, IMPORT + STARTUP),
    "a reload waits": _waits,
    "a reload has failed": _failed,
    "a worker was killed": lambda server: server.serve().hands.ends(server.who("worker-1"), "was killed"),
    "a worker is replaced": _decides(lambda one: one.plan.replace(1, "before", one.now)),
    "a worker is recycled": _decides(
        lambda one: one.plan.recycle(one.who("worker-2"), "age", "old", one.now)
    ),
    "it has been scaled": _decides(lambda one: one.plan.scale(3, one.now)),
}
moments = pytest.mark.parametrize("moment", MOMENTS)


def at(moment: str) -> InMemory:
    server = InMemory()
    MOMENTS[moment](server)
    return server


def whole(server: InMemory, workers: int = 2) -> list[str]:
    number = server.serving()
    return [f"pool-1/{number}", *(f"worker-{n + 1}/{number}" for n in range(workers))]


def test_a_start_serves_when_all_are_ready() -> None:
    server = InMemory().start()
    server.run(IMPORT + STARTUP - 0.1)
    assert server.serving() == 0
    server.run(0.1)
    assert server.serving() == 1
    assert server.alive() == whole(server)
    assert server.loop.exit is None


def test_a_start_that_fails_ends_the_server() -> None:
    server = InMemory()
    server.hands.broken = True
    server.start().run(LONG)
    assert server.loop.exit is ExitCode.APP
    server.check_over()


@moments
def test_a_reload_ends_with_a_new_generation_alone(moment: str) -> None:
    server = at(moment)
    server.reload("mine")
    server.run(LONG)
    assert server.ended()["mine"] == ""
    assert server.alive() == whole(server, server.plan.workers)
    assert list(server.plan.generations) == [server.serving()]
    assert server.hands.templates == {server.serving()}
    spawned = {operation for what, operation, generation in server.hands.operations if generation > 1}
    assert spawned <= {"before", "waits", "mine"}


def test_a_reload_that_waited_starts_as_its_own_operation() -> None:
    server = InMemory().serve()
    for operation in ("aaa", "bbb"):
        server.reload(operation)
    server.run(LONG)
    started = {(operation, number) for _, operation, number in server.hands.operations}
    assert started == {("", 1), ("aaa", 2), ("bbb", 3)}
    assert [(line.operation, line.details) for line in server.said("reloading")] == [
        ("aaa", {"generation": 2}),
        ("bbb", {"generation": 3}),
    ]
    assert server.ended() == {"aaa": "", "bbb": ""}
    assert server.told.totals.reloads == {"succeeded": 2}


@moments
def test_a_reload_that_fails_leaves_what_serves(moment: str) -> None:
    server = at(moment)
    server.run(LONG)
    before = server.alive()
    server.hands.broken = True
    server.reload("mine")
    server.run(LONG)
    assert server.ended()["mine"] == "no module"
    assert server.alive() == before
    assert server.plan.phase is ServerPhase.RUNNING


@moments
def test_a_reload_is_refused_while_something_is_in_its_way_and_nothing_has_changed(moment: str) -> None:
    server = at(moment)
    server.upgrading = "an upgrade is under way"
    server.wanted = Config(app="a:b", workers=9)
    workers, actions = server.plan.workers, len(server.hands.operations)
    server.reload("mine")
    assert server.ended()["mine"] == "an upgrade is under way"
    assert (server.plan.workers, len(server.hands.operations)) == (workers, actions)


def test_a_reload_reads_the_number_of_workers() -> None:
    server = InMemory().serve()
    server.wanted = Config(app="a:b", workers=4, pools=1)
    server.reload("mine")
    server.run(LONG)
    assert server.alive() == whole(server, 4)
    assert {line.operation for line in server.said("scaled")} == {"mine"}


@moments
def test_a_crash_loop_backs_off_and_ends_when_the_cause_does(moment: str) -> None:
    server = at(moment)
    server.run(LONG)
    server.hands.crashes = True
    server.hands.ends(server.who("worker-1", server.serving()), "was killed by SIGSEGV")
    forks = len(server.hands.operations)
    server.run(60.0)
    assert 3 <= len(server.hands.operations) - forks <= 9
    assert server.plan.phase is ServerPhase.RUNNING
    server.hands.crashes = False
    server.run(LONG)
    assert server.alive() == whole(server, server.plan.workers)


@moments
def test_a_process_that_hangs_is_killed_and_replaced(moment: str) -> None:
    server = at(moment)
    server.run(LONG)
    hung = server.who("worker-2", server.serving())
    server.loop.perform(server.plan.hung(hung, "it hangs", server.now))
    server.run(LONG)
    assert all(one is not hung for one, _ in server.hands.pids.values())
    assert server.alive() == whole(server, server.plan.workers)


@moments
@pytest.mark.parametrize("workers", [1, 4])
def test_scaling_holds_whatever_goes_on(moment: str, workers: int) -> None:
    server = at(moment)
    server.loop.perform(server.plan.scale(workers, server.now))
    server.run(LONG)
    assert server.alive() == whole(server, workers)


@moments
def test_a_server_that_was_upgraded_leaves_and_every_operation_ends(moment: str) -> None:
    server = at(moment)
    server.loop.perform(server.plan.leave(server.now, adopt=True, operation="upgrade"))
    assert {line.operation for line in server.said("leaving")} == {"upgrade"}
    server.run(LONG)
    assert server.loop.exit is ExitCode.OK
    assert server.hands.listens, "the sockets are the next one's"
    server.check_over()


@moments
def test_a_stop_ends_everything_in_time_and_every_operation(moment: str) -> None:
    server = at(moment)
    server.stop()
    server.run(DRAIN + STARTUP)
    assert server.loop.exit is ExitCode.OK
    assert not server.hands.listens
    server.check_over()
    begun = {"before", "waits"} & {one.operation for one in server.reports if one.operation}
    assert begun <= server.ended().keys()


@moments
def test_a_stop_of_processes_that_do_not_end_is_bounded(moment: str) -> None:
    server = at(moment)
    server.hands.hangs = True
    server.stop()
    server.run(server.plan.settings.stop_budgets.stop() + KILL_TIMEOUT)
    assert server.loop.exit is not None
    server.check_over()


@moments
def test_a_second_stop_waits_for_nobody(moment: str) -> None:
    server = at(moment)
    server.hands.hangs = True
    server.stop()
    over = server.loop.exit is not None  # where nothing had been forked
    server.stop()
    server.run(0.0)
    assert server.loop.exit is (ExitCode.OK if over else ExitCode.FORCED)
    server.check_over()


@moments
def test_nothing_follows_a_stop(moment: str) -> None:
    server = at(moment)
    server.stop()
    started = len(server.hands.operations)
    server.reload("late")
    server.loop.perform(server.plan.scale(9, server.now))
    server.loop.perform(server.plan.replace(1, "later", server.now))
    server.run(LONG)
    assert len(server.hands.operations) == started
    assert "late" not in {one.operation for one in server.reports}, "no reload has begun"
    server.check_over()


def test_an_action_that_fails_is_told_and_the_others_are_done() -> None:
    server = InMemory().serve()
    perform = server.hands.perform
    failed: list[str] = []

    def fails(action: Action) -> None:
        if isinstance(action, Kill) and not failed:
            failed.append(action.identity.name)
            raise OSError("a defect")
        perform(action)

    server.hands.perform = fails  # type: ignore[method-assign]  # as a defect would
    server.stop()
    server.stop()
    server.run(0.0)
    assert server.alive() == [f"{failed[0]}/1"]
