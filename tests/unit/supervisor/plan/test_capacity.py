"""Scaling, replacement of one process, readiness: what operators ask of the plan."""

from math import inf

import pytest

from hsrv.common.terms import Role
from hsrv.supervisor.plan.actions import (
    Announce,
    Dismiss,
    Drain,
    ForkChild,
    Kill,
    OperationEnded,
    Recycled,
    Serve,
)
from hsrv.supervisor.plan.capacity import not_ready
from tests.unit.supervisor.plan.fleets import Fleet, drain, roles

# scale


def test_scaling_up_forks_the_next_slot(fleet: Fleet) -> None:
    assert roles(fleet.scale(+1)) == ["worker-3"]
    assert fleet.ready("worker-3") == [Serve(fleet.who("worker-3"))]


def test_scaling_down_drains_the_last_slot_and_does_not_replace_it(fleet: Fleet) -> None:
    leaving = fleet.who("worker-2")
    assert fleet.scale(-1) == [drain(leaving, adopt=True)]
    assert fleet.exited("worker-2", reason="was killed by SIGKILL") == []
    assert fleet.tick(60.0) == []
    assert fleet.next_in() == inf


def test_scaling_stops_at_one_worker(fleet: Fleet) -> None:
    fleet.scale(-1)
    assert fleet.scale(-1) == []
    assert fleet.said[0].event == "not scaled"
    assert fleet.plan.workers == 1


def test_a_slot_that_waits_for_its_replacement_is_given_up_by_scaling_down(fleet: Fleet) -> None:
    fleet.exited("worker-2")
    fleet.exited("worker-2")
    assert fleet.next_in() == 0.5
    assert fleet.scale(-1) == []
    assert fleet.tick(60.0) == []


def test_down_and_up_again_has_two_processes_of_a_slot_told_apart(fleet: Fleet) -> None:
    old = fleet.who("worker-2")
    fleet.scale(-1)
    fleet.scale(+1)
    new = fleet.who("worker-2")
    assert fleet.saw(fleet.plan.child_exited(old, "exited with code 0", fleet.now)) == []
    assert fleet.ready("worker-2") == [Serve(new)]


def test_scaling_up_while_reloading_counts_for_both_generations(fleet: Fleet) -> None:
    fleet.start()
    fleet.template_ready(2)
    assert [fork.identity.generation for fork in fleet.scale(+1) if isinstance(fork, ForkChild)] == [1, 2]
    for name in ("pool-1", "worker-1", "worker-2"):
        assert fleet.ready(name, 2) == []
    assert Announce(2) in fleet.ready("worker-3", 2)


def test_scaling_down_while_reloading_may_complete_the_new_generation(fleet: Fleet) -> None:
    fleet.start()
    fleet.template_ready(2)
    fleet.ready("pool-1", 2)
    fleet.ready("worker-1", 2)
    actions = fleet.scale(-1)
    assert Dismiss(fleet.who("worker-2", 2)) in actions
    assert Announce(2) in actions
    assert Serve(fleet.who("worker-2", 2)) not in actions


def test_scaling_before_the_template_is_ready_counts() -> None:
    fleet = Fleet()
    fleet.start()
    assert fleet.scale(+1) == []
    assert roles(fleet.template_ready()) == ["pool-1", "worker-1", "worker-2", "worker-3"]


def test_scaling_by_several_at_once(fleet: Fleet) -> None:
    assert roles(fleet.scale(+3)) == ["worker-3", "worker-4", "worker-5"]
    for name in ("worker-3", "worker-4", "worker-5"):
        fleet.ready(name)
    assert [action.identity.name for action in fleet.scale(-4) if isinstance(action, Drain)] == [
        "worker-5",
        "worker-4",
        "worker-3",
        "worker-2",
    ]
    assert fleet.plan.workers == 1


# replacement


def test_a_replacement_serves_before_the_old_one_drains(fleet: Fleet) -> None:
    old = fleet.who("worker-1")
    [fork] = fleet.replace(1)
    assert isinstance(fork, ForkChild)
    assert (fork.identity.name, fork.identity.leader) == ("worker-1", True)
    assert fork.identity is not old
    assert fleet.ready("worker-1") == [Serve(fork.identity), drain(old, adopt=True)]
    assert fleet.ended == [OperationEnded(operation="op")]
    assert fleet.saw(fleet.plan.child_exited(old, "exited with code 0", fleet.now)) == []
    assert [
        child.identity for child in fleet.plan.generations[1].everyone() if child.key == (Role.WORKER, 1)
    ] == [fork.identity]


def test_streams_end_with_their_pool_while_a_fresh_one_serves() -> None:
    fleet = Fleet(pools=2)
    fleet.serve()
    before = [fleet.who(f"pool-{slot}") for slot in (1, 2)]
    [fork] = fleet.saw(fleet.plan.end_streams(fleet.now))
    assert isinstance(fork, ForkChild)
    drained = drain(before[0], adopt=True)
    assert fleet.ready("pool-1")[:3] == [Serve(fork.identity), Recycled("prestop"), drained]
    assert drain(before[1], adopt=True) in fleet.ready("pool-2"), "one after the other, and each"
    fleet.stop()
    assert fleet.saw(fleet.plan.end_streams(fleet.now)) == []


def test_after_the_delay_and_the_longest_drain_whatever_is_left_is_killed() -> None:
    fleet = Fleet(drain_delay=4.0, stream_grace=100.0)
    fleet.serve()
    fleet.stop()
    budgets = fleet.plan.budgets
    longest = 4.0 + budgets.drain(Role.POOL)
    assert budgets.stop() > longest > 4.0 + budgets.drain(Role.WORKER)
    fleet.tick(4.0)
    assert fleet.tick(longest - 4.0 - 0.1) != []
    assert "pool-1" in roles(fleet.tick(0.1)), "then whatever is left is killed"


@pytest.mark.parametrize("how", ["fails", "exits", "is late"])
def test_a_replacement_that_can_not_start_leaves_the_old_one(fleet: Fleet, how: str) -> None:
    old = fleet.who("worker-1")
    fleet.replace(1)
    if how == "fails":
        fleet.failed("worker-1")
        assert fleet.ended[0].error
    elif how == "is late":
        fleet.now += 121
        [kill] = fleet.saw(fleet.plan.tick(fleet.now))
        assert isinstance(kill, Kill)
        assert kill.identity is not old
    fleet.exited("worker-1", reason="exited with code 3")
    if how != "fails":
        assert "exited with code 3" in fleet.ended[0].error
    assert fleet.plan.find(old) is not None
    assert [
        child.identity for child in fleet.plan.generations[1].everyone() if child.key == (Role.WORKER, 1)
    ] == [old]
    assert fleet.plan.generations[1].due == {}


def test_an_old_one_that_dies_first_is_replaced_by_what_is_on_its_way(fleet: Fleet) -> None:
    old = fleet.who("worker-1")
    fleet.replace(1)
    new = fleet.who("worker-1")
    assert fleet.saw(fleet.plan.child_exited(old, "was killed by SIGSEGV", fleet.now)) == []
    assert fleet.ended == [], "nobody serves yet"
    assert fleet.plan.generations[1].due == {}
    assert fleet.ready("worker-1") == [Serve(new)]
    assert fleet.ended == [OperationEnded(operation="op")]


def test_when_both_die_the_operation_has_failed_and_the_slot_is_filled_again(fleet: Fleet) -> None:
    old = fleet.who("worker-1")
    fleet.replace(1)
    fleet.saw(fleet.plan.child_exited(old, "was killed by SIGSEGV", fleet.now))
    [fork] = fleet.exited("worker-1", reason="exited with code 3") or fleet.saw(
        fleet.plan.tick(fleet.now + 60)
    )
    assert isinstance(fork, ForkChild)
    assert fleet.plan.generations[1].replacing == {}


def test_what_can_not_be_replaced_says_why(fleet: Fleet) -> None:
    assert fleet.replace(9) == []
    assert "no worker-9" in fleet.ended[0].error
    fleet.replace(1)
    assert fleet.replace(1, "other") == []
    assert "already" in fleet.ended[0].error
    fleet.saw(fleet.plan.stop(fleet.now))
    fleet.replace(2)
    assert "stops" in fleet.ended[0].error


@pytest.mark.parametrize("what", ["a reload", "a stop", "a kill", "scaling down"])
def test_a_replacement_is_given_up_by(fleet: Fleet, what: str) -> None:
    fleet.replace(2)
    new = fleet.who("worker-2")
    if what == "a reload":
        fleet.start()
        fleet.template_ready(2)
        for name in ("pool-1", "worker-1", "worker-2"):
            actions = fleet.ready(name, 2)
    elif what == "a stop":
        actions = fleet.saw(fleet.plan.stop(fleet.now))
    elif what == "a kill":
        actions = fleet.saw(fleet.plan.stop_now("QUIT", fleet.now))
    else:
        actions = fleet.scale(-1)
    assert [ended.operation for ended in fleet.ended] == ["op"]
    assert fleet.ended[0].error
    assert any(isinstance(action, Dismiss | Kill) and action.identity is new for action in actions)


def test_the_oldest_of_too_many_draining_generations_has_no_time_left_for_its_streams() -> None:
    fleet = Fleet(max_draining=2)
    fleet.serve()
    hurried = []
    for number in (2, 3, 4, 5):
        fleet.start()
        fleet.template_ready(number)
        for name in ("pool-1", "worker-1", "worker-2"):
            actions = fleet.ready(name, number)
        hurried.append(
            {a.identity.generation for a in actions if isinstance(a, Drain) and a.stream_grace == 0}
        )
    assert hurried == [set(), set(), {1}, {2}]
    assert all(action.adopt for action in actions if isinstance(action, Drain))


# readiness


def test_readiness_follows_start_loss_hold_and_stop() -> None:
    fleet = Fleet()
    assert not_ready(fleet.plan) == "starting"
    fleet.start()
    fleet.template_ready()
    for name in ("pool-1", "worker-1", "worker-2"):
        assert not_ready(fleet.plan) == "starting"
        fleet.ready(name)
    assert not_ready(fleet.plan) == ""
    fleet.exited("pool-1")
    assert not_ready(fleet.plan) == "no pool serves"
    fleet.ready("pool-1")
    fleet.plan.hold(True)
    assert not_ready(fleet.plan) == "drained by the operator"
    fleet.plan.hold(False)
    assert not_ready(fleet.plan) == ""
    fleet.saw(fleet.plan.stop(fleet.now))
    assert not_ready(fleet.plan) == "stopping"
