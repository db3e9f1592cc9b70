"""Whether a process hangs, according to its scoreboard. Pure.

Distinguishes: the GIL is held (no thread of the process runs), the event loop is blocked in one step of one call, or a
call never ends although the loop runs. A process that starts or ends has deadlines of its own
(`hsrv.supervisor.plan.plan`), so a slow import is never taken for a hang.
"""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from hsrv.board.snapshot import BoardRequest, Snapshot
from hsrv.common.terms import Role

OFF: Final = 0.0
"""Value of a limit that is switched off."""


@unique
class Kind(StrEnum):
    GIL_HELD = "gil_held"
    """No thread of the process ran: a C call holds the GIL, or the process is stopped."""
    LOOP_BLOCKED = "loop_blocked"
    CALL_STUCK = "call_stuck"
    """A call of the application was cancelled and did not end."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds."""

    request: float
    """--request-timeout: of one step of a call in a worker."""
    stall: float
    """--stall-timeout: of one step of a call in a pool."""
    gil: float
    """--gil-timeout"""


@dataclass(frozen=True)
class Hang:
    kind: Kind
    since: float
    """time.monotonic(); distinguishes one hang from the next."""
    request: BoardRequest | None
    """The request that occupies the process, if known."""
    note: str
    """Where it is blocked, if known."""
    option: str
    """The option whose limit was exceeded."""


def judge(role: Role, snapshot: Snapshot, limits: Limits, now: float) -> Hang | None:
    """The worst problem of a process that serves; `now`: time.monotonic()."""
    return _gil(snapshot, limits, now) or _loop(role, snapshot, limits, now) or _call(snapshot)


def _gil(snapshot: Snapshot, limits: Limits, now: float) -> Hang | None:
    silent = snapshot.thread_beat and now - snapshot.thread_beat > limits.gil
    if limits.gil == OFF or not silent:
        return None
    request = snapshot.current or snapshot.stalled
    return Hang(Kind.GIL_HELD, snapshot.thread_beat, request, snapshot.note, "--gil-timeout")


def _loop(role: Role, snapshot: Snapshot, limits: Limits, now: float) -> Hang | None:
    """A loop that is late is not necessarily blocked: it may have many short steps to run. So one step must have taken
    long."""
    limit, option = (
        (limits.request, "--request-timeout") if role is Role.WORKER else (limits.stall, "--stall-timeout")
    )
    if limit == OFF or not snapshot.loop_beat or now - snapshot.loop_beat <= limit:
        return None
    request = snapshot.current or _in_this_turn(snapshot)
    since = request.since if request is not None else snapshot.loop_beat
    if now - since <= limit:
        return None
    known = request if request is not None and request.method else None
    return Hang(Kind.LOOP_BLOCKED, since, known, snapshot.note, option)


def _in_this_turn(snapshot: Snapshot) -> BoardRequest | None:
    """The heartbeat's thread may not have cleared yet what it recorded in an earlier turn."""
    stalled = snapshot.stalled
    return stalled if stalled is not None and stalled.since >= snapshot.loop_beat else None


def _call(snapshot: Snapshot) -> Hang | None:
    """The worker itself cancels a call that takes too long, and records one that goes on after that."""
    stuck = snapshot.stuck
    return Hang(Kind.CALL_STUCK, stuck.since, stuck, "", "--request-timeout") if stuck is not None else None
