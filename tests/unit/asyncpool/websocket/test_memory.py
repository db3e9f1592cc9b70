"""The sum of all messages of a pool."""

from hsrv.asyncpool.websocket.memory import COUNTED_FROM, MessageMemory

MIB = 1 << 20


class Connection:
    def __init__(self) -> None:
        self.gave_up = 0

    def release(self) -> None:
        self.gave_up += 1


def test_what_is_small_is_not_counted() -> None:
    memory, one = MessageMemory(MIB), Connection()
    assert memory.hold(one, COUNTED_FROM) == 0
    assert memory.used == 0


def test_what_is_held_is_counted_once_and_forgotten_once_it_is_free() -> None:
    memory, one, other = MessageMemory(MIB), Connection(), Connection()
    assert memory.hold(one, 100_000) == 100_000
    assert memory.hold(one, 200_000) == 200_000
    assert memory.hold(other, 50_000) == 50_000
    assert memory.used == 250_000
    assert memory.hold(one, 0) == 0
    assert memory.hold(other, 10) == 0
    assert memory.used == 0


def test_it_is_tight_while_more_than_a_half_is_used() -> None:
    memory, one = MessageMemory(MIB), Connection()
    memory.hold(one, MIB // 2 + 1)
    assert memory.tight
    memory.hold(one, MIB // 2)
    assert not memory.tight


def test_beyond_the_limit_those_release_that_hold_most_whoever_asks() -> None:
    memory, largest, large, small = MessageMemory(MIB), Connection(), Connection(), Connection()
    memory.hold(largest, 600_000)
    memory.hold(large, 400_000)
    assert memory.hold(small, 100_000) == 100_000
    assert (largest.gave_up, large.gave_up, small.gave_up) == (1, 0, 0)
    assert memory.used == 500_000
    assert memory.hold(large, 2 * MIB) == 0
    assert (large.gave_up, small.gave_up) == (1, 0)
    assert memory.used == 100_000


def test_that_much_was_freed_is_told_once() -> None:
    memory, one = MessageMemory(100 * MIB), Connection()
    memory.hold(one, 20 * MIB)
    assert not memory.much_was_freed()
    memory.hold(one, MIB)
    assert memory.much_was_freed()
    assert not memory.much_was_freed()
    memory.hold(one, 2 * MIB)
    memory.hold(one, 0)
    assert not memory.much_was_freed()


def test_while_most_of_it_is_still_used_nothing_is_worth_to_look_for() -> None:
    memory, one, other = MessageMemory(100 * MIB), Connection(), Connection()
    memory.hold(one, 40 * MIB)
    memory.hold(other, 45 * MIB)
    memory.hold(one, 0)
    assert not memory.much_was_freed()
    memory.hold(other, 20 * MIB)
    assert memory.much_was_freed()
