"""How the ticks of one stream are judged."""

import pytest

from bench.lateness import Tick, judge


def test_a_tick_is_as_late_as_it_is_read_after_it_was_due() -> None:
    verdict = judge([Tick(0, 10.5, 10.6), Tick(1, 10.6, 10.61)], asked=10.0, end=10.71)
    assert verdict.late == pytest.approx([0.1, 0.01])
    assert verdict.first == pytest.approx(0.6)
    assert verdict.lost == 0


def test_a_tick_that_never_came_is_as_late_as_the_end() -> None:
    verdict = judge([Tick(0, 10.0, 10.0)], asked=10.0, end=10.31)
    assert verdict.late == pytest.approx([0.0, 0.21, 0.11])
    assert verdict.lost == 2


def test_a_stream_that_never_began_lost_everything() -> None:
    verdict = judge([], asked=10.0, end=10.31)
    assert verdict.late == pytest.approx([0.31, 0.21, 0.11])
    assert verdict.first == pytest.approx(0.31)
    assert verdict.lost == 3


def test_a_hole_is_counted_once() -> None:
    verdict = judge([Tick(0, 0.0, 0.0), Tick(2, 0.2, 0.2)], asked=0.0, end=0.31)
    assert verdict.lost == 1
    assert verdict.late == pytest.approx([0.0, 0.0, 0.21])
