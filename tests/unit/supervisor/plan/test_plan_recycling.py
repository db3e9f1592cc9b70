"""The plan with workers that are worn out: replaced one at a time, the new one first."""

from hsrv.common.terms import Identity, Role
from hsrv.supervisor.plan.actions import (
    Action,
    ForkChild,
    OperationEnded,
    Recycled,
    Serve,
)
from tests.unit.supervisor.plan.fleets import Fleet, drain, kinds, roles


def wear_out(fleet: Fleet, identity: Identity) -> list[Action]:
    return fleet.saw(fleet.plan.recycle(identity, "requests", "50 requests", fleet.now))


def test_a_worn_out_worker_is_replaced_by_one_that_serves_first_and_one_at_a_time(fleet: Fleet) -> None:
    first, second = fleet.who("worker-1"), fleet.who("worker-2")
    assert kinds(wear_out(fleet, first)) == [ForkChild], "it is counted when it is replaced"
    assert [said.event for said in fleet.said] == ["recycling"]
    assert wear_out(fleet, second) == []
    actions = fleet.ready("worker-1")
    drained = drain(first, adopt=True)
    assert actions[:3] == [Serve(fleet.who("worker-1")), Recycled("requests"), drained]
    assert roles(actions[3:]) == ["worker-2"], "now it is its turn"
    assert drain(second, adopt=True) in fleet.ready("worker-2")
    assert fleet.plan.generations[1].worn_out == {}
    assert fleet.next_in() > 1.0


def test_a_replacement_for_a_worn_out_worker_that_fails_leaves_it_and_the_next_has_its_turn(
    fleet: Fleet,
) -> None:
    first, second = fleet.who("worker-1"), fleet.who("worker-2")
    wear_out(fleet, first)
    wear_out(fleet, second)
    assert roles(fleet.exited("worker-1", reason="exited with code 3")) == ["worker-2"]
    assert fleet.plan.find(first) is not None
    assert roles(fleet.ready("worker-2")[-1:]) == ["worker-1"], "then it is its turn again"


def test_replacements_that_fail_have_longer_and_longer_pauses(fleet: Fleet) -> None:
    first = fleet.who("worker-1")
    assert kinds(wear_out(fleet, first)) == [ForkChild]
    forks = 1
    for _ in range(60):  # they fail at once, and the reason is told each second
        while fleet.who("worker-1") is not first and fleet.plan.find(fleet.who("worker-1")):
            forks += len(roles(fleet.exited("worker-1", reason="exited with code 3")))
        fleet.now += 1
        forks += len(roles(wear_out(fleet, first))) + len(roles(fleet.tick()))
    assert 6 <= forks <= 8
    assert 0 < fleet.next_in() <= 30, "and then it is tried again"
    assert roles(fleet.tick(fleet.next_in())) == ["worker-1"]


def test_a_slot_forgets_for_what_the_process_was_to_be_replaced_that_held_it(fleet: Fleet) -> None:
    wear_out(fleet, fleet.who("worker-1"))
    wear_out(fleet, fleet.who("worker-2"))
    assert roles(fleet.exited("worker-2", reason="was killed by SIGSEGV")) == ["worker-2"]
    fleet.ready("worker-2")
    assert ForkChild not in kinds(fleet.ready("worker-1")), "the fresh one has served nobody yet"


def test_a_slot_that_is_given_up_is_not_worn_out_when_it_comes_back(fleet: Fleet) -> None:
    wear_out(fleet, fleet.who("worker-1"))
    wear_out(fleet, fleet.who("worker-2"))
    fleet.scale(-1)
    fleet.scale(+1)
    fleet.ready("worker-2")
    assert ForkChild not in kinds(fleet.ready("worker-1"))


def test_who_is_worn_out_while_the_template_is_replaced_has_his_turn_then(fleet: Fleet) -> None:
    fleet.template_gone()
    assert wear_out(fleet, fleet.who("worker-2")) == []
    fleet.tick()
    assert roles(fleet.template_ready()) == ["worker-2"]


def test_who_is_worn_out_and_killed_is_replaced_once(fleet: Fleet) -> None:
    worker = fleet.who("worker-2")
    wear_out(fleet, fleet.who("worker-1"))
    wear_out(fleet, worker)
    fleet.saw(fleet.plan.hung(worker, "it hangs", fleet.now))
    assert ForkChild not in kinds(fleet.ready("worker-1"))
    assert roles(fleet.saw(fleet.plan.child_exited(worker, "was killed", fleet.now))) == ["worker-2"]


def test_nobody_is_recycled_by_a_server_that_stops() -> None:
    fleet = Fleet(drain_delay=4.0)
    fleet.serve()
    wear_out(fleet, fleet.who("worker-1"))
    wear_out(fleet, fleet.who("worker-2"))
    fleet.stop()
    assert ForkChild not in kinds(fleet.ready("worker-1"))


def test_who_drains_starts_or_is_unknown_is_not_recycled(fleet: Fleet) -> None:
    worker = fleet.who("worker-1")
    fleet.saw(fleet.plan.stop(fleet.now))
    assert fleet.saw(fleet.plan.recycle(worker, "requests", "50 requests", fleet.now)) == []
    assert (
        fleet.saw(fleet.plan.recycle(Identity(Role.WORKER, 9, 9), "requests", "50 requests", fleet.now)) == []
    )


def test_a_generation_that_starts_is_complete_by_what_it_was_given(fleet: Fleet) -> None:
    """A reload in the queue has read a configuration with more pools."""
    fleet.start("r1")
    fleet.template_ready(2)
    fleet.start("r2")
    fleet.configure(pools=2)
    for name in ("pool-1", "worker-1", "worker-2"):
        fleet.ready(name, 2)
    assert fleet.ended == [OperationEnded(operation="r1")]
    assert len(roles(fleet.template_ready(3))) == 4
