"""Who has lived long enough."""

from hsrv.supervisor.recycling import AGE_SPREAD, Holding, largest, too_large, too_old
from hsrv.terms import Identity, Role


def worker(slot: int, age: float = 1.0, memory: int = 100) -> Holding:
    return Holding(identity=Identity(Role.WORKER, slot, 1), pid=slot, age=age, memory=memory)


def slots(found: object) -> list[int]:
    return [identity.slot for identity, _, _ in found]  # type: ignore[attr-defined]


def test_age_with_a_spread() -> None:
    most = 100.0
    assert slots(too_old([worker(1, 99), worker(2, most * (1 + AGE_SPREAD) + 1)], most)) == [2]
    assert 0 < len(slots(too_old([worker(n, most * (1 + AGE_SPREAD / 2)) for n in range(50)], most))) < 50
    assert slots(too_old([worker(1, 1e9)], 0)) == []


def test_memory() -> None:
    assert slots(too_large([worker(1, memory=100), worker(2, memory=101)], 100)) == [2]
    assert slots(too_large([worker(1, memory=10**15)], 0)) == []


def test_the_largest() -> None:
    assert largest([]) is None
    assert largest([worker(1, memory=5), worker(2, memory=9), worker(3, memory=7)]) == worker(2, memory=9)
