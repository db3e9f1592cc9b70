"""What is forked when: templates that are lost, and what workers are told of a lost pool."""

from math import inf

from hsrv.common.terms import Preload
from hsrv.supervisor.plan.actions import (
    KillTemplate,
    PoolAvailable,
    Serve,
    SpawnTemplate,
)
from tests.unit.supervisor.plan.fleets import (
    BUDGETS,
    Fleet,
    kinds,
    roles,
)

# the template


def test_a_dead_template_is_replaced_and_then_forks_what_is_due(fleet: Fleet) -> None:
    assert fleet.template_gone() == []
    assert fleet.exited("worker-1") == [], "nobody can fork"
    assert fleet.next_in() == 0
    assert fleet.tick() == [SpawnTemplate(1, Preload.AUTO)]
    assert fleet.next_in() == BUDGETS.startup
    assert roles(fleet.template_ready()) == ["worker-1"]


def test_a_template_that_can_not_import_any_more_is_tried_again_ever_slower(fleet: Fleet) -> None:
    fleet.template_gone()
    fleet.exited("worker-1")
    waits = []
    for _ in range(3):
        assert fleet.tick(fleet.next_in()) == [SpawnTemplate(1, Preload.AUTO)]
        assert fleet.saw(fleet.plan.template_failed(1, "syntax", "Traceback", fleet.now)) == []
        assert fleet.said[0].level == "error"
        waits.append(fleet.next_in())
    assert waits == [0.5, 1.0, 2.0]
    fleet.tick(2.0)
    assert roles(fleet.template_ready()) == ["worker-1"]


def test_a_replacement_template_that_hangs_is_killed_and_replaced(fleet: Fleet) -> None:
    fleet.template_gone()
    fleet.tick()
    assert kinds(fleet.tick(BUDGETS.startup)) == [KillTemplate]
    assert fleet.template_gone() == []
    assert fleet.tick(fleet.next_in()) == [SpawnTemplate(1, Preload.AUTO)]


def test_the_template_of_a_draining_generation_is_not_replaced(fleet: Fleet) -> None:
    fleet.serve(2)
    assert fleet.template_gone(1) == []
    fleet.end(1)
    assert fleet.next_in() == inf


def test_a_replacement_template_that_comes_too_late_changes_nothing(fleet: Fleet) -> None:
    fleet.template_gone()
    fleet.tick()
    fleet.stop()
    assert fleet.saw(fleet.plan.template_unsafe(1, "threads: x", fleet.now)) == []
    assert fleet.template_ready() == []


# the pool


def test_workers_are_told_of_a_lost_pool_after_the_handoff_budget_and_of_the_next_one(fleet: Fleet) -> None:
    fleet.exited("pool-1")
    assert fleet.next_in() == BUDGETS.handoff
    assert fleet.tick(BUDGETS.handoff) == [PoolAvailable(1, available=False)]
    assert fleet.tick(1.0) == [], "told once"
    assert fleet.ready("pool-1") == [Serve(fleet.who("pool-1")), PoolAvailable(1, available=True)]


def test_a_pool_that_is_replaced_in_time_is_never_told_of(fleet: Fleet) -> None:
    fleet.exited("pool-1")
    assert fleet.ready("pool-1") == [Serve(fleet.who("pool-1"))]
    assert fleet.next_in() == inf


def test_a_pool_that_dies_again_and_again_does_not_put_off_the_news(fleet: Fleet) -> None:
    fleet.exited("pool-1")
    fleet.tick(3.0)
    fleet.exited("pool-1")
    fleet.tick(0.5)
    assert PoolAvailable(1, available=False) in fleet.tick(1.5)


def test_a_worker_that_comes_while_the_pool_is_lost_is_told(fleet: Fleet) -> None:
    fleet.exited("pool-1")
    fleet.tick(BUDGETS.handoff)
    fleet.exited("worker-1")
    assert fleet.ready("worker-1")[-1] == PoolAvailable(1, available=False)


def test_one_of_two_pools_is_enough() -> None:
    fleet = Fleet(pools=2)
    fleet.serve()
    fleet.exited("pool-2")
    assert fleet.tick(BUDGETS.handoff) == []
