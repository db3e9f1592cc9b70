"""Totals of slots, over the lives of their processes: read from real boards."""

import os
from collections.abc import Iterator

import pytest

from hsrv.board.layout import Count, Histogram
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.board.snapshot import Snapshot, Totals
from hsrv.common.terms import EndReason, Identity, Role
from hsrv.supervisor.reports.totals import ServerTotals


class Life:
    """One process: it has a board."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.fd = new_board()
        self.board = Scoreboard(self.fd)

    @property
    def seen(self) -> tuple[Identity, Snapshot | None]:
        return self.identity, read_board(self.fd)

    def close(self) -> None:
        os.close(self.fd)


class Lives:
    def __init__(self) -> None:
        self.all: list[Life] = []

    def begin(self, role: Role = Role.WORKER, slot: int = 1, generation: int = 1, accepted: int = 0) -> Life:
        life = Life(Identity(role, slot, generation))
        life.board.count(Count.ACCEPTED, accepted)
        self.all.append(life)
        return life


@pytest.fixture
def lives() -> Iterator[Lives]:
    lives = Lives()
    yield lives
    for life in lives.all:
        life.close()


def accepted(totals: Totals) -> int:
    return totals.count(Count.ACCEPTED)


def test_nobody_has_counted_anything() -> None:
    assert ServerTotals().by_slot([]) == {}


def test_who_is_alive_counts_by_his_board_at_each_look(lives: Lives) -> None:
    totals, one = ServerTotals(), lives.begin(accepted=3)
    assert accepted(totals.by_slot([one.seen])[Role.WORKER, 1]) == 3
    assert accepted(totals.by_slot([one.seen])[Role.WORKER, 1]) == 3
    one.board.count(Count.ACCEPTED, 4)
    assert accepted(totals.by_slot([one.seen])[Role.WORKER, 1]) == 7
    assert totals.by_slot([]) == {}


def test_a_slot_goes_on_where_its_dead_have_ended(lives: Lives) -> None:
    totals = ServerTotals()
    for number, count in enumerate((3, 4), 1):
        life = lives.begin(generation=number, accepted=count)
        before = totals.by_slot([life.seen])
        totals.gone(*life.seen)
        after = totals.by_slot([])
        assert accepted(before[Role.WORKER, 1]) == accepted(after[Role.WORKER, 1])
    assert accepted(totals.by_slot([])[Role.WORKER, 1]) == 7
    assert accepted(totals.by_slot([lives.begin(accepted=5).seen])[Role.WORKER, 1]) == 12


def test_two_generations_that_live_share_the_slot(lives: Lives) -> None:
    old, new = lives.begin(generation=1, accepted=3), lives.begin(generation=2, accepted=4)
    assert accepted(ServerTotals().by_slot([old.seen, new.seen])[Role.WORKER, 1]) == 7


def test_slots_and_roles_are_counted_apart_dead_or_alive(lives: Lives) -> None:
    totals = ServerTotals()
    keys = [(role, slot) for role in (Role.WORKER, Role.POOL) for slot in (1, 2)]
    dead = {key: 2**n for n, key in enumerate(keys)}
    for (role, slot), count in dead.items():
        totals.gone(*lives.begin(role, slot, accepted=count).seen)
    assert {key: accepted(counts) for key, counts in totals.by_slot([]).items()} == dead
    alive = [lives.begin(role, slot, accepted=100 * count).seen for (role, slot), count in dead.items()]
    found = {key: accepted(counts) for key, counts in totals.by_slot(alive).items()}
    assert found == {key: 101 * count for key, count in dead.items()}


def test_a_look_leaves_what_was_kept_as_it_was(lives: Lives) -> None:
    totals = ServerTotals()
    totals.gone(*lives.begin(accepted=3).seen)
    alive = lives.begin(accepted=4)
    for _ in range(3):
        assert accepted(totals.by_slot([alive.seen])[Role.WORKER, 1]) == 7
    assert accepted(totals.by_slot([])[Role.WORKER, 1]) == 3


def test_a_process_that_never_wrote_changes_nothing(lives: Lives) -> None:
    totals = ServerTotals()
    unborn = Identity(Role.WORKER, 1, 1), None
    totals.gone(*unborn)
    assert totals.by_slot([unborn]) == {}
    totals.gone(*lives.begin(accepted=3).seen)
    totals.gone(*unborn)
    assert accepted(totals.by_slot([unborn])[Role.WORKER, 1]) == 3


def test_every_kind_of_total_survives_a_death(lives: Lives) -> None:
    totals = ServerTotals()
    for _ in range(2):
        life = lives.begin()
        life.board.responded(404, 0.5)
        life.board.observe(Histogram.STREAM, 2.0)
        life.board.ended[EndReason.CLIENT_GONE] += 1
        life.board.stream_ended[EndReason.DRAINED] += 3
        totals.gone(*life.seen)
    [dead] = totals.by_slot([]).values()
    assert (dead.durations()["4xx"].count, dead.durations()["4xx"].seconds) == (2, 1.0)
    assert (dead.timing(Histogram.STREAM).count, dead.timing(Histogram.STREAM).seconds) == (2, 4.0)
    assert dead.ended()[EndReason.CLIENT_GONE] == 2
    assert dead.stream_ended()[EndReason.DRAINED] == 6
