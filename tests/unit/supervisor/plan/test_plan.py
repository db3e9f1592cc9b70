"""The plan by table: events in, actions out. Reloads, and which operation an action belongs to."""

from collections.abc import Callable
from math import inf

import pytest

from hsrv.common.errors import ExitCode
from hsrv.common.terms import Identity, Preload, Role
from hsrv.supervisor.plan.actions import (
    Announce,
    Drain,
    Finish,
    ForkChild,
    Line,
    MoveHandoffs,
    OperationEnded,
    QuitTemplate,
    Serve,
    SpawnTemplate,
)
from hsrv.supervisor.plan.ending import KILL_TIMEOUT
from hsrv.supervisor.plan.state import ServerPhase
from tests.unit.supervisor.plan.fleets import (
    WORKER_DRAIN,
    Fleet,
    kinds,
    roles,
)

# reload


def test_what_waits_for_the_pool_of_an_old_generation_that_has_none_is_moved() -> None:
    fleet = Fleet()
    fleet.serve()
    fleet.exited("pool-1", reason="was killed by SIGKILL")
    fleet.ready("pool-1")
    fleet.exited("pool-1", reason="was killed by SIGKILL")  # and the next one is not due yet
    assert MoveHandoffs(1) in fleet.serve(2)
    assert fleet.exited("worker-1", 1) == [MoveHandoffs(1)], "it may have handed over more"
    assert fleet.exited("worker-2", 1) == [QuitTemplate(1)]


def test_a_serving_generation_that_has_lost_everybody_at_once_goes_on() -> None:
    fleet = Fleet(workers=1)
    fleet.serve()
    fleet.scale(1)
    fleet.ready("worker-2")
    fleet.scale(-1)
    for name in ("worker-1", "pool-1"):
        fleet.exited(name)
        fleet.ready(name)
        fleet.exited(name)
    assert fleet.exited("worker-2") == []
    assert [action.identity.name for action in fleet.tick(5.0) if isinstance(action, ForkChild)] == [
        "worker-1",
        "pool-1",
    ]


def test_a_reload_drains_the_old_generation_when_the_new_one_serves(fleet: Fleet) -> None:
    assert fleet.start() == [SpawnTemplate(2, Preload.AUTO)]
    assert kinds(fleet.template_ready(2)) == [ForkChild] * 3
    fleet.ready("pool-1", 2)
    assert fleet.ready("worker-1", 2) == []
    actions = fleet.ready("worker-2", 2)
    assert kinds(actions) == [Serve] * 3 + [Announce] + [Drain] * 3
    assert all(drain.adopt for drain in actions if isinstance(drain, Drain))
    assert fleet.exited("worker-1") == []
    assert fleet.exited("worker-2") == [Finish(fleet.who("pool-1"))]
    assert fleet.exited("pool-1") == [QuitTemplate(1)]
    assert list(fleet.plan.generations) == [2]


def test_a_drain_past_its_budget_is_killed(fleet: Fleet) -> None:
    fleet.serve(2)
    assert fleet.next_in() == WORKER_DRAIN
    assert roles(fleet.tick(WORKER_DRAIN)) == ["pool-1", "worker-1", "worker-2"]
    assert fleet.end(1)[-1] == QuitTemplate(1)
    assert fleet.plan.exit_code is ExitCode.OK, "only a stop has an exit code"


def test_a_pool_has_its_grace_beyond_the_budget_of_requests() -> None:
    fleet = Fleet(stream_grace=100.0)
    fleet.serve()
    fleet.serve(2)
    assert roles(fleet.tick(WORKER_DRAIN)) == ["worker-1", "worker-2"]
    assert fleet.next_in() == min(KILL_TIMEOUT, 118.0 - WORKER_DRAIN)
    fleet.exited("worker-1")
    fleet.exited("worker-2")
    assert roles(fleet.tick(118.0 - WORKER_DRAIN)) == ["pool-1"]


FAILURES: dict[str, Callable[[Fleet], object]] = {
    "import": lambda fleet: fleet.saw(fleet.plan.template_failed(2, "no module", "Traceback", fleet.now)),
    "template death": lambda fleet: fleet.template_gone(2),
    "lifespan": lambda fleet: (fleet.template_ready(2), fleet.failed("worker-1", 2), fleet.end(2)),
    "child death": lambda fleet: (fleet.template_ready(2), fleet.exited("worker-1", 2), fleet.end(2)),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_reload_leaves_the_old_generation_untouched(fleet: Fleet, failure: str) -> None:
    fleet.start()
    FAILURES[failure](fleet)
    assert list(fleet.plan.generations) == [1]
    assert fleet.plan.phase is ServerPhase.RUNNING
    assert fleet.next_in() == inf
    assert fleet.start() == [SpawnTemplate(3, Preload.AUTO)], "the next reload may work"


def test_a_reload_while_reloading_follows_it(fleet: Fleet) -> None:
    fleet.start()
    assert fleet.start() == []
    fleet.start()
    fleet.template_ready(2)
    actions = [fleet.ready(name, 2) for name in fleet.all_names()][-1]
    assert actions[-1] == SpawnTemplate(3, Preload.AUTO)
    fleet.template_ready(3)
    actions = [fleet.ready(name, 3) for name in fleet.all_names()][-1]
    assert SpawnTemplate not in kinds(actions), "several requests are one"


def test_a_reload_while_a_failing_one_starts_follows_it(fleet: Fleet) -> None:
    fleet.start()
    fleet.start()
    assert fleet.template_gone(2) == [QuitTemplate(2), SpawnTemplate(3, Preload.AUTO)]


def test_a_reload_after_a_failed_first_start_does_nothing() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.start()
    fleet.template_ready()
    assert SpawnTemplate not in kinds(fleet.failed("worker-1"))
    assert fleet.start() == []


def test_a_generation_that_drains_can_be_superseded_again(fleet: Fleet) -> None:
    fleet.serve(2)
    actions = fleet.serve(3)
    assert {drain.identity.generation for drain in actions if isinstance(drain, Drain)} == {2}
    assert fleet.end(1)[-1] == QuitTemplate(1)
    assert fleet.end(2)[-1] == QuitTemplate(2)
    assert list(fleet.plan.generations) == [3]


# operations


def test_a_reload_ends_when_the_new_generation_serves(fleet: Fleet) -> None:
    fleet.start("r1")
    fleet.template_ready(2)
    fleet.ready("pool-1", 2)
    fleet.ready("worker-1", 2)
    assert fleet.ended == []
    fleet.ready("worker-2", 2)
    assert fleet.ended == [OperationEnded(operation="r1")]
    assert [generation.operation for generation in fleet.plan.generations.values()] == ["r1", ""]


def test_a_reload_that_fails_tells_why(fleet: Fleet) -> None:
    fleet.start("r1")
    fleet.saw(fleet.plan.template_failed(2, "no module", "Traceback", fleet.now))
    assert fleet.ended == [OperationEnded("no module", "Traceback", operation="r1")]


def test_a_reload_in_a_queue_keeps_its_id(fleet: Fleet) -> None:
    fleet.start("r1")
    fleet.start("r2")
    assert fleet.plan.queued_reload == "r2"
    fleet.saw(fleet.plan.template_failed(2, "no module", "", fleet.now))
    assert [ended.operation for ended in fleet.ended] == ["r1"]
    assert fleet.start("r3") == []
    assert fleet.plan.generations[3].operation == "r2"


@pytest.mark.parametrize("how", ["serves", "fails"])
def test_a_reload_that_waited_is_an_operation_of_its_own_when_its_predecessor(fleet: Fleet, how: str) -> None:
    fleet.start("r1")
    fleet.start("r2")
    fleet.template_ready(2)
    if how == "serves":
        for name in fleet.all_names():
            fleet.ready(name, 2)
    else:
        fleet.failed("worker-1", 2)
    [spawned] = [action for action in fleet.seen if isinstance(action, SpawnTemplate)]
    lines = [action for action in fleet.seen if isinstance(action, Line) and action.event == "reloading"]
    assert [action.operation for action in (spawned, *lines)] == ["r2", "r2"]
    others = fleet.seen[: fleet.seen.index(lines[0])]
    assert {action.operation for action in others} == {"r1"}
    fleet.template_ready(3)
    assert {action.operation for action in fleet.seen} == {"r2"}


def test_what_is_done_for_a_replacement_is_part_of_it(fleet: Fleet) -> None:
    fleet.replace(1, "p1")
    assert [action.operation for action in fleet.seen] == ["p1", "p1"]
    fleet.ready("worker-1")
    assert [(type(action), action.operation) for action in fleet.seen] == [
        (Serve, "p1"),
        (Drain, "p1"),
        (OperationEnded, "p1"),
    ]


def test_what_is_nobodys_is_part_of_no_operation(fleet: Fleet) -> None:
    fleet.exited("worker-1")
    fleet.stop()
    assert {action.operation for action in fleet.seen} == {""}


@pytest.mark.parametrize("how", ["stop", "stop_now"])
def test_reloads_that_a_stop_overtakes_end(fleet: Fleet, how: str) -> None:
    fleet.start("r1")
    fleet.start("r2")
    fleet.saw(fleet.plan.stop(fleet.now) if how == "stop" else fleet.plan.stop_now("QUIT", fleet.now))
    assert {(ended.operation, ended.error) for ended in fleet.ended} == {
        ("r1", "the server stops"),
        ("r2", "the server stops"),
    }
    assert fleet.plan.queued_reload is None


def test_events_of_unknown_or_gone_processes_are_harmless(fleet: Fleet) -> None:
    gone = fleet.who("worker-1")
    fleet.exited("worker-1")
    for identity in (gone, Identity(Role.WORKER, 9, 1), Identity(Role.WORKER, 1, 99)):
        fleet.plan.child_forked(identity)
        fleet.plan.child_silent(identity, fleet.now)
        assert fleet.saw(fleet.plan.child_ready(identity, fleet.now)) == []
        assert fleet.saw(fleet.plan.child_failed(identity, "import", "x", "", fleet.now)) == []
        assert fleet.saw(fleet.plan.child_exited(identity, "exited with code 0", fleet.now)) == []
    assert fleet.template_ready(99) == []
    assert fleet.template_gone(99) == []
    assert fleet.saw(fleet.plan.template_unsafe(99, "x", fleet.now)) == []
    assert fleet.saw(fleet.plan.template_failed(99, "x", "", fleet.now)) == []


def test_a_process_serves_once(fleet: Fleet) -> None:
    assert fleet.ready("worker-1") == []
