"""Whether a process hangs, by its scoreboard. Pure.

Three things are told apart: something holds the GIL (no thread of the process runs), the event loop stands still in one
step of one call, or a call never ends though the loop turns. A process that starts or ends has deadlines of its own
(`hsrv.supervisor.plan.plan`), so a slow import is never taken for a hang.
"""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from hsrv.board.snapshot import BoardRequest, Snapshot
from hsrv.common.terms import Role

OFF: Final = 0.0
"""As a limit: none."""


@unique
class Kind(StrEnum):
    GIL_HELD = "gil_held"
    """No thread of the process ran: a C call holds the GIL, or the process is stopped."""
    LOOP_BLOCKED = "loop_blocked"
    CALL_STUCK = "call_stuck"
    """The application was cancelled and did not end."""


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
    """time.monotonic(); tells one hang from the next."""
    request: BoardRequest | None
    """Whose, as far as is known."""
    note: str
    """What it stands still in, as far as is known."""
    option: str
    """Whose limit is over."""


def judge(role: Role, snapshot: Snapshot, limits: Limits, now: float) -> Hang | None:
    """The worst that is wrong with a process that serves; `now`: time.monotonic()."""
    return _gil(snapshot, limits, now) or _loop(role, snapshot, limits, now) or _call(snapshot)


def _gil(snapshot: Snapshot, limits: Limits, now: float) -> Hang | None:
    silent = snapshot.thread_beat and now - snapshot.thread_beat > limits.gil
    if limits.gil == OFF or not silent:
        return None
    request = snapshot.current or snapshot.stalled
    return Hang(Kind.GIL_HELD, snapshot.thread_beat, request, snapshot.note, "--gil-timeout")


def _loop(role: Role, snapshot: Snapshot, limits: Limits, now: float) -> Hang | None:
    """A loop that is late is not blocked: it may have many short steps to do. So one step must have lasted for long."""
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
    """The heartbeat's thread may not have got round to wiping out what it noted in an earlier one."""
    stalled = snapshot.stalled
    return stalled if stalled is not None and stalled.since >= snapshot.loop_beat else None


def _call(snapshot: Snapshot) -> Hang | None:
    """The worker itself cancels a call that takes too long, and tells of one that goes on all the same."""
    stuck = snapshot.stuck
    return Hang(Kind.CALL_STUCK, stuck.since, stuck, "", "--request-timeout") if stuck is not None else None
