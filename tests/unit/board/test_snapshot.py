"""Totals add up by kind, and a histogram answers for its quantiles."""

import os

from hsrv.board.layout import BOUNDS, BUCKETS, CLASSES, Count, Histogram
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.board.snapshot import NOTHING, Timing, Totals
from hsrv.common.terms import EndReason


def totals(*, responses: int = 0, seconds: float = 0.01) -> Totals:
    board = Scoreboard(fd := new_board())
    for _ in range(responses):
        board.responded(200, seconds)
    board.ended[EndReason.DRAINED] += responses
    board.stream_ended[EndReason.FLOOD] += 2 * responses
    board.count(Count.SHED, 3 * responses)
    board.observe(Histogram.STREAM, seconds)
    snapshot = read_board(fd)
    os.close(fd)
    assert snapshot is not None
    return snapshot.totals


def test_the_sum_of_two_processes_has_each_number_in_its_own_place() -> None:
    both = totals(responses=2) + totals(responses=3)
    assert both.count(Count.SHED) == 15
    assert both.ended()[EndReason.DRAINED] == 5
    assert both.stream_ended()[EndReason.FLOOD] == 10
    assert both.durations()["2xx"].count == 5
    assert [both.durations()[kind].count for kind in CLASSES if kind != "2xx"] == [0] * 5
    assert both.timing(Histogram.STREAM).count == 2
    assert both.timing(Histogram.LOOP_LAG).count == 0


def test_nothing_is_the_neutral_element() -> None:
    some = totals(responses=2)
    assert (some + NOTHING).durations() == some.durations()


def test_what_happened_between_two_snapshots_is_their_difference() -> None:
    before, after = totals(responses=2, seconds=0.5), totals(responses=5, seconds=0.5)
    difference = after.durations()["2xx"] - before.durations()["2xx"]
    assert (difference.count, difference.seconds) == (3, 1.5)


def test_a_quantile_is_in_the_bucket_that_holds_it() -> None:
    timing = Timing(tuple(9 if n == 4 else int(n == 8) for n in range(BUCKETS)), 1.0)
    median, last = timing.quantile(0.5), timing.quantile(1.0)
    assert median is not None
    assert last is not None
    assert BOUNDS[3] <= median <= BOUNDS[4]
    assert BOUNDS[7] <= last <= BOUNDS[8]


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Timing((0,) * BUCKETS, 0.0).quantile(0.5) is None
