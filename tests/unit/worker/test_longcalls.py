"""Which calls a worker takes for long ones."""

import pytest

from hsrv.worker.longcalls import LONG, LONG_PATHS_LIMIT, PER_WORKER, LongCalls


def test_a_path_whose_calls_are_short_is_never_kept() -> None:
    calls = LongCalls(8)
    calls.took("/", LONG / 2)
    assert not calls.any_known
    assert not calls.expects("/")


def test_one_long_call_is_enough() -> None:
    calls = LongCalls(8)
    calls.took("/report", 0.2)
    assert calls.any_known
    assert calls.expects("/report")
    assert not calls.expects("/")


def test_one_call_that_was_interrupted_is_not_and_is_forgotten() -> None:
    calls = LongCalls(8)
    calls.took("/", LONG * 1.2)
    assert not calls.expects("/")
    for _ in range(10):
        calls.took("/", 0.00003)
    assert not calls.any_known


def test_two_calls_that_are_just_long_enough_are() -> None:
    calls = LongCalls(8)
    for _ in range(12):
        calls.took("/", LONG * 1.2)
    assert calls.expects("/")


def test_a_path_that_has_become_fast_is_no_longer_long() -> None:
    calls = LongCalls(8)
    for _ in range(10):
        calls.took("/report", 0.2)
    for _ in range(40):
        calls.took("/report", 0.001)
    assert not calls.expects("/report")
    assert not calls.any_known


def test_a_pattern_stands_for_all_its_paths() -> None:
    calls = LongCalls(8)
    calls.took("/report/*", 0.2)
    assert calls.expects("/report/17")


@pytest.mark.parametrize(("workers", "limit"), [(1, LONG), (25, LONG), (100, 100 * PER_WORKER)])
def test_more_workers_make_the_limit_higher(workers: int, limit: float) -> None:
    assert LongCalls(workers).limit == pytest.approx(limit)


def test_the_patterns_are_bounded() -> None:
    calls = LongCalls(8)
    for number in range(LONG_PATHS_LIMIT + 10):
        calls.took(f"/{number}", 0.2)
    assert not calls.expects("/0")
    assert calls.expects(f"/{LONG_PATHS_LIMIT + 9}")
    assert len(calls._means) == LONG_PATHS_LIMIT
