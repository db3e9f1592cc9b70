"""Who has lived long enough, or holds too much."""

import itertools
from collections.abc import Iterable
from typing import Any

from hsrv.common.terms import Identity, Role
from hsrv.supervisor.plan.recycling import (
    AGE_SPREAD,
    BORN_LARGE_PAUSE,
    PRESSURE_PAUSE,
    Pressure,
    ProcessUse,
    most_grown,
    too_large,
    too_old,
)


def worker(slot: int, age: float = 1.0, memory: int = 100, **more: Any) -> ProcessUse:
    return ProcessUse(identity=Identity(Role.WORKER, slot, 1), pid=slot, age=age, memory=memory, **more)


def slots(found: Iterable[tuple[Identity, str, str]]) -> list[int]:
    return [identity.slot for identity, _, _ in found]


def test_age_with_a_spread() -> None:
    most = 100.0
    ages = (99, most * (1 + AGE_SPREAD) + 1)
    assert slots(too_old([worker(n, age, max_age=most) for n, age in enumerate(ages)])) == [1]
    between = [worker(n, most * (1 + AGE_SPREAD / 2), max_age=most) for n in range(50)]
    assert 0 < len(slots(too_old(between))) < 50
    assert slots(too_old([worker(1, 1e9)])) == []


def test_memory() -> None:
    small, large = (worker(n, memory=100 + n, grown=50, max_memory=100) for n in (0, 1))
    assert slots(too_large([small, large])) == [1]
    assert slots(too_large([worker(1, memory=10**15)])) == []


def test_who_was_too_large_from_its_start_on_is_replaced_once_in_a_while() -> None:
    ages = (1.0, BORN_LARGE_PAUSE + 1)
    born = [worker(n, age, memory=150, grown=40, max_memory=100) for n, age in enumerate(ages)]
    assert all(one.born_large for one in born)
    assert slots(too_large(born)) == [1]


def test_who_has_grown_most_goes_under_pressure_unless_nobody_has() -> None:
    grown = worker(2, memory=60, grown=50)
    assert most_grown([worker(1, memory=900, grown=1), grown], 1000) == grown
    assert most_grown([worker(1, memory=900, grown=1)], 1000) is None
    assert most_grown([], 1000) is None


def test_the_pause_doubles_while_replacements_do_not_help() -> None:
    pressure, now, times = Pressure(), 0.0, []
    for _ in range(1000):
        now += 1
        if pressure.is_due(now):
            times.append(now)
            assert pressure.acts(0.95, now) is (len(times) == 1)
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert pauses == [PRESSURE_PAUSE * 2**n for n in range(len(pauses))]
    assert len(pauses) > 3
    pressure.eased()
    assert pressure.is_due(now)
    assert pressure.acts(0.95, now)
