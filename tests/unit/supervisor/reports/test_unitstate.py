"""What a service manager is told, by table."""

import pytest

from hsrv.common.terms import Role
from hsrv.supervisor.plan.fleet import Gen
from hsrv.supervisor.plan.state import View
from hsrv.supervisor.reports.unitstate import (
    EXTENSION,
    UnitState,
    change_lines,
    extension_lines,
    status_text,
    unit_state,
    why_starved,
)
from tests.unit.supervisor.plan.fleets import Fleet

STARTING, READY, RELOADING, STOPPING = UnitState


def serving() -> Fleet:
    fleet = Fleet()
    fleet.serve()
    return fleet


def facts(plan: View) -> tuple[UnitState, str, str]:
    return unit_state(plan), status_text(plan), why_starved(plan)


def test_a_life() -> None:
    fleet = Fleet()
    fleet.start()
    assert facts(fleet.plan) == (STARTING, "starting", "")
    fleet = serving()
    assert facts(fleet.plan) == (READY, "generation 1: 2 workers, 1 pools", "")
    fleet.start()
    assert facts(fleet.plan) == (RELOADING, "generation 1: 2 workers, 1 pools, the next one starts", "")
    fleet.stop()
    state, text, starved = facts(fleet.plan)
    assert (state, text.startswith("stopping: "), starved) == (STOPPING, True, "")


@pytest.mark.parametrize(("role", "why"), [(Role.POOL, "no pool serves"), (Role.WORKER, "no worker serves")])
def test_without_anybody_of_a_role_there_is_no_sign_of_life(role: Role, why: str) -> None:
    fleet = serving()
    plan = fleet.plan
    generation = plan.generations[1]
    assert generation.state is Gen.SERVING
    for key in [key for key in generation.children if key[0] is role]:
        assert why_starved(plan) == ""
        del generation.children[key]
    assert why_starved(plan) == why
    assert f"(not ready: {why})" in status_text(plan)
    fleet.stop()
    assert why_starved(plan) == "", "a stop has bounds of its own"


def test_an_operator_who_wants_no_traffic_has_no_ill_server() -> None:
    plan = serving().plan
    plan.hold(True)
    assert why_starved(plan) == ""
    assert status_text(plan).endswith("(not ready: drained by the operator)")


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (STARTING, STARTING, []),
        (STARTING, READY, ["READY=1"]),
        (STARTING, STOPPING, ["STOPPING=1"]),
        (READY, READY, []),
        (READY, RELOADING, ["RELOADING=1", "MONOTONIC_USEC=12500000"]),
        (READY, STARTING, []),
        (READY, STOPPING, ["STOPPING=1"]),
        (RELOADING, READY, ["READY=1"]),
        (RELOADING, STOPPING, ["STOPPING=1"]),
        (STOPPING, STOPPING, []),
    ],
)
def test_each_change(before: UnitState, after: UnitState, lines: list[str]) -> None:
    assert change_lines(before, after, 12.5) == lines


@pytest.mark.parametrize("state", UnitState)
def test_more_time_only_where_the_manager_counts_it(state: UnitState) -> None:
    wanted = [f"EXTEND_TIMEOUT_USEC={int(EXTENSION * 1e6)}"] if state in (STARTING, STOPPING) else []
    assert extension_lines(state) == wanted
