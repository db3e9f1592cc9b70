"""What counts as a hang, and what doesn't. At t = 1000."""

from typing import Any

import pytest

from hsrv.board.layout import Gauge
from hsrv.board.snapshot import NOTHING, BoardRequest, Snapshot
from hsrv.common.terms import Role
from hsrv.supervisor.health.health import Kind, Limits, judge

NOW = 1000.0
LIMITS = Limits(request=60, stall=2, gil=30)


def board(**changes: Any) -> Snapshot:
    """A process that is well, but for the changes."""
    well: dict[str, Any] = {
        "pid": 7,
        "thread_beat": NOW - 0.2,
        "loop_beat": NOW - 0.2,
        "current": None,
        "stalled": None,
        "oldest": None,
        "stuck": None,
        "note": "",
        "gauges": (0,) * len(Gauge),
        "totals": NOTHING,
    }
    return Snapshot(**{**well, **changes})


def since(ago: float, method: str = "GET") -> BoardRequest:
    return BoardRequest(NOW - ago, method, "/slow", "id", "10.0.0.9")


WELL: list[tuple[str, Role, dict[str, Any]]] = [
    ("nothing wrong", Role.WORKER, {}),
    ("no beat yet", Role.WORKER, {"thread_beat": 0.0, "loop_beat": 0.0}),
    ("a long step within its limit", Role.WORKER, {"loop_beat": NOW - 59, "current": since(59)}),
    ("a late loop in a step that has just begun", Role.WORKER, {"loop_beat": NOW - 90, "current": since(1)}),
    ("a late loop, many short steps of waiting calls", Role.WORKER, {"loop_beat": NOW - 90, "stalled": since(3)}),
    ("a call that waits for long, which the worker itself ends", Role.WORKER, {"oldest": since(64)}),
    ("a short stall in a pool", Role.POOL, {"loop_beat": NOW - 1.9}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "role", "changes"), WELL, ids=[case[0] for case in WELL])
def test_well(name: str, role: Role, changes: dict[str, Any]) -> None:
    assert judge(role, board(**changes), LIMITS, NOW) is None


HANGS: list[tuple[str, Role, dict[str, Any], Kind, float]] = [
    ("the GIL", Role.WORKER, {"thread_beat": NOW - 31, "loop_beat": NOW - 31}, Kind.GIL_HELD, 31),
    ("the GIL in a pool", Role.POOL, {"thread_beat": NOW - 31, "loop_beat": NOW - 31}, Kind.GIL_HELD, 31),
    ("a first step", Role.WORKER, {"loop_beat": NOW - 61, "current": since(61)}, Kind.LOOP_BLOCKED, 61),
    ("a later step", Role.WORKER, {"loop_beat": NOW - 62, "stalled": since(61)}, Kind.LOOP_BLOCKED, 61),
    ("no request", Role.WORKER, {"loop_beat": NOW - 61}, Kind.LOOP_BLOCKED, 61),
    ("a stall of an earlier turn", Role.WORKER, {"loop_beat": NOW - 61, "stalled": since(80)}, Kind.LOOP_BLOCKED, 61),
    ("a pool", Role.POOL, {"loop_beat": NOW - 3, "stalled": since(2.5)}, Kind.LOOP_BLOCKED, 2.5),
    ("a call that was cancelled and goes on", Role.WORKER, {"stuck": since(66)}, Kind.CALL_STUCK, 66),
    ("the worst first", Role.WORKER, {"stuck": since(99), "loop_beat": NOW - 70}, Kind.LOOP_BLOCKED, 70),
]  # fmt: skip


@pytest.mark.parametrize(("name", "role", "changes", "kind", "ago"), HANGS, ids=[case[0] for case in HANGS])
def test_hangs(name: str, role: Role, changes: dict[str, Any], kind: Kind, ago: float) -> None:
    hang = judge(role, board(**changes), LIMITS, NOW)
    assert hang is not None
    assert hang.kind is kind
    assert hang.since == pytest.approx(NOW - ago)


@pytest.mark.parametrize(
    "changes",
    [
        {"thread_beat": NOW - 9999},
        {"loop_beat": NOW - 9999, "current": since(9999)},
    ],
)
def test_no_limit_no_hang(changes: dict[str, Any]) -> None:
    for role in (Role.WORKER, Role.POOL):
        assert judge(role, board(**changes), Limits(request=0, stall=0, gil=0), NOW) is None


def test_the_request_is_named_where_it_is_known() -> None:
    hang = judge(Role.WORKER, board(loop_beat=NOW - 61, current=since(61), note="in f"), LIMITS, NOW)
    assert hang is not None
    assert hang.request is not None
    assert (hang.request.path, hang.note, hang.option) == ("/slow", "in f", "--request-timeout")
    background = judge(Role.POOL, board(loop_beat=NOW - 9, stalled=since(9, method="")), LIMITS, NOW)
    assert background is not None
    assert background.request is None, "a task of the application's own"
