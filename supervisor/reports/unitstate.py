"""What the service manager is told of the server, and whether it may take it for healthy. Pure."""

from enum import Enum, auto
from typing import Final

from hsrv.common.terms import Role
from hsrv.supervisor.plan.capacity import missing, not_ready
from hsrv.supervisor.plan.fleet import ChildState, Gen
from hsrv.supervisor.plan.state import ServerPhase, View

EXTENSION: Final = 15.0
"""Seconds that we ask for at a time, while a start or a drain that has a bound of its own is under way."""

BEAT: Final = 5.0
"""Seconds between two of these."""

WATCHDOG_SHARE: Final = 1 / 3
"""Of the manager's patience, between two signs of life: one may come late."""


class UnitState(Enum):
    STARTING = auto()
    READY = auto()
    RELOADING = auto()
    STOPPING = auto()


LASTING: Final = (UnitState.STARTING, UnitState.STOPPING)
"""Those in which the manager counts the seconds."""


def unit_state(plan: View) -> UnitState:
    if plan.phase is not ServerPhase.RUNNING:
        return UnitState.STOPPING
    if plan.serving() is None:
        return UnitState.STARTING
    starting = any(one.state is Gen.STARTING for one in plan.generations.values())
    return UnitState.RELOADING if starting else UnitState.READY


def change_lines(before: UnitState, after: UnitState, now: float) -> list[str]:
    """What the manager is told of this change. A server that has served and starts again (development) is ready to
    it all the same: it has no word for less."""
    if before is after:
        return []
    if after is UnitState.READY:
        return ["READY=1"]
    if after is UnitState.RELOADING:
        return reloading_lines(now)
    return ["STOPPING=1"] if after is UnitState.STOPPING else []


def reloading_lines(now: float) -> list[str]:
    """`now`: of CLOCK_MONOTONIC, as the manager compares it with the moment at which it asked."""
    return ["RELOADING=1", f"MONOTONIC_USEC={int(now * 1e6)}"]


def extension_lines(state: UnitState) -> list[str]:
    return [f"EXTEND_TIMEOUT_USEC={int(EXTENSION * 1e6)}"] if state in LASTING else []


def status_text(plan: View) -> str:
    """One line for people: `systemctl status` shows it."""
    state = unit_state(plan)
    everyone = [child for one in plan.generations.values() for child in one.everyone()]
    if state is UnitState.STOPPING:
        return f"stopping: {len(everyone)} processes left"
    serving = plan.serving()
    if serving is None:
        return "starting"
    counts = dict.fromkeys((Role.WORKER, Role.POOL), 0)
    for child in serving.children.values():
        counts[child.identity.role] += child.state is ChildState.SERVING
    why = not_ready(plan)
    text = f"generation {serving.number}: {counts[Role.WORKER]} workers, {counts[Role.POOL]} pools"
    suffix = ", the next one starts" if state is UnitState.RELOADING else ""
    return text + suffix + (f" (not ready: {why})" if why else "")


def why_starved(plan: View) -> str:
    """Why the manager should see no sign of life; "" when it should.

    A start and a stop have bounds of their own, and an operator who takes readiness away doesn't make the server ill.
    """
    serving = plan.serving()
    if unit_state(plan) in LASTING or serving is None:
        return ""
    return missing(serving)
