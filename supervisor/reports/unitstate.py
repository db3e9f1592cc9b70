"""What the service manager is told about the server, and whether the server counts as healthy. Pure."""

from enum import Enum, auto
from typing import Final

from hsrv.common.terms import Role
from hsrv.supervisor.plan.capacity import missing, not_ready
from hsrv.supervisor.plan.fleet import ChildState, Gen
from hsrv.supervisor.plan.state import ServerPhase, View

EXTENSION: Final = 15.0
"""Seconds requested at a time while a start or a drain is in progress, which has a bound of its own."""

BEAT: Final = 5.0
"""Seconds between two such requests."""

WATCHDOG_SHARE: Final = 1 / 3
"""Share of the watchdog time between two signs of life: one may be late."""


class UnitState(Enum):
    STARTING = auto()
    READY = auto()
    RELOADING = auto()
    STOPPING = auto()


LASTING: Final = (UnitState.STARTING, UnitState.STOPPING)
"""States with a timeout of the manager."""


def unit_state(plan: View) -> UnitState:
    if plan.phase is not ServerPhase.RUNNING:
        return UnitState.STOPPING
    if plan.serving() is None:
        return UnitState.STARTING
    starting = any(one.state is Gen.STARTING for one in plan.generations.values())
    return UnitState.RELOADING if starting else UnitState.READY


def change_lines(before: UnitState, after: UnitState, now: float) -> list[str]:
    """The message for this change. A server that has served and starts again (development) stays ready for the manager:
    there is no state for less."""
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
    """Why the manager should get no sign of life; "" if it should get one.

    A start and a stop have bounds of their own, and a server that an operator has taken out of service is still
    healthy.
    """
    serving = plan.serving()
    if unit_state(plan) in LASTING or serving is None:
        return ""
    return missing(serving)
