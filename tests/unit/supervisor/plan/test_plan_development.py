"""The plan in development: a save is served before anything else."""

from dataclasses import replace as replace_budgets

import pytest

from hsrv.common.errors import ExitCode
from hsrv.supervisor.plan.actions import (
    Dismiss,
    Drain,
    Kill,
    OperationEnded,
    SpawnTemplate,
)
from hsrv.supervisor.plan.state import ServerPhase
from tests.unit.supervisor.plan.fleets import BUDGETS, Fleet, names

STOP_BUDGETS = replace_budgets(
    BUDGETS, graceful=0.25, stream_grace=0.0, lifespan_shutdown=0.25, margin=0.2, stream_end=0.25
)


@pytest.fixture
def dev() -> Fleet:
    """One that serves, in development."""
    fleet = Fleet(workers=1, development=True, stop_budgets=STOP_BUDGETS)
    fleet.start()
    fleet.template_ready()
    fleet.ready("pool-1")
    fleet.ready("worker-1")
    return fleet


def test_in_development_the_old_generation_drains_before_the_new_one_starts(dev: Fleet) -> None:
    actions = dev.start("r1")
    assert names(actions, Drain) == [(1, "pool-1"), (1, "worker-1")]
    assert isinstance(actions[-1], SpawnTemplate)
    assert actions[-1].generation == 2


def test_in_development_a_change_overtakes_the_one_that_starts(dev: Fleet) -> None:
    dev.start("r1")
    dev.template_ready(2)
    dev.plan.child_forked(dev.who("pool-1", 2))
    actions = dev.start("r2")
    assert names(actions, Kill) == [(2, "pool-1")]
    assert names(actions, Dismiss) == [(2, "worker-1")], "it has no pid yet"
    assert [ended.operation for ended in dev.ended] == ["r1"]
    assert dev.plan.queued_reload is None
    dev.exited("pool-1", 2)
    dev.exited("worker-1", 2)
    dev.template_ready(3)
    dev.ready("pool-1", 3)
    dev.ready("worker-1", 3)
    assert dev.ended == [OperationEnded(operation="r2")]


@pytest.mark.parametrize("failure", ["import", "death", "lifespan"])
def test_in_development_what_is_broken_is_shown_by_a_generation_of_its_own(dev: Fleet, failure: str) -> None:
    dev.start("r1")
    dev.template_ready(2)
    died = failure == "death"
    actions = dev.exited("worker-1", 2, "exited with code 7") if died else dev.failed("worker-1", 2)
    assert [action.generation for action in actions if isinstance(action, SpawnTemplate)] == [3]
    broken = dev.plan.generations[3].broken
    assert broken is not None
    assert broken.message
    assert dev.ended[0].operation == "r1"
    assert dev.plan.phase is ServerPhase.RUNNING
    dev.template_ready(3)
    dev.ready("pool-1", 3)
    dev.ready("worker-1", 3)
    assert dev.plan.serving() is dev.plan.generations[3]


def test_in_development_a_page_that_can_not_be_shown_either_ends_the_server(dev: Fleet) -> None:
    dev.start()
    dev.saw(dev.plan.template_gone(2, "was killed", dev.now))
    for name in ("pool-1", "worker-1"):
        dev.exited(name)
    dev.saw(dev.plan.template_gone(3, "was killed", dev.now))
    assert dev.plan.phase in (ServerPhase.STOPPING, ServerPhase.OVER)
    assert dev.plan.exit_code is ExitCode.APP


def test_a_stop_may_have_shorter_budgets_than_a_reload(dev: Fleet) -> None:
    dev.start()
    assert dev.plan.generations[1].everyone()[0].deadline > dev.now + 10
    actions = dev.saw(dev.plan.stop(dev.now))
    drains = [action for action in actions if isinstance(action, Drain)]
    assert {(one.graceful, one.stream_grace, one.adopt) for one in drains} == {(0.25, 0.0, False)}
    assert all(child.deadline <= dev.now + 6 for child in dev.plan.generations[1].everyone())
