"""What is told of errors that a server outlives."""

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from hsrv.supervisor.runtime.errorlog import REMINDER, ErrorLog


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def six(by: int) -> None:
    assert 6 // by == 6


def divide(errors: ErrorLog, by: int) -> None:
    with errors.logged():
        six(by)


def divide_elsewhere(errors: ErrorLog, by: int) -> None:
    with errors.logged():
        six(by)


def events(lines: list[Any]) -> list[tuple[str, int]]:
    return [(line["event"], line.get("times", 0)) for line in lines]


FIRST = "defect in x", 0


def again(times: int) -> tuple[str, int]:
    return "defect in x goes on", times


def test_what_goes_well_is_not_told(lines: list[Any]) -> None:
    errors = ErrorLog("x")
    divide(errors, 1)
    errors.remind(1000.0)
    assert lines == []


def test_one_that_came_once_is_told_once(lines: list[Any]) -> None:
    errors = ErrorLog("x")
    divide(errors, 0)
    for n in range(3):
        errors.remind(1000.0 + n * REMINDER)
    assert events(lines) == [FIRST]


def test_who_came_again_is_reminded_of_when_a_minute_is_over(lines: list[Any]) -> None:
    errors = ErrorLog("x")
    errors.remind(1000.0)
    for _ in range(4):
        divide(errors, 0)
    errors.remind(1000.0 + REMINDER - 0.1)
    assert events(lines) == [FIRST]
    errors.remind(1000.0 + REMINDER)
    assert events(lines) == [FIRST, again(3)]
    divide(errors, 0)
    errors.remind(1000.0 + 2 * REMINDER - 0.1)
    assert events(lines) == [FIRST, again(3)]
    errors.remind(1000.0 + 2 * REMINDER)
    assert events(lines) == [FIRST, again(3), again(1)]


def test_each_defect_has_a_traceback_of_its_own_and_is_counted_alone(lines: list[Any]) -> None:
    """Also another failure of the same line, and the same failure on another way there."""
    errors = ErrorLog("x")
    for way, by, times in ((divide, 0, 2), (divide, 6, 3), (divide_elsewhere, 0, 5)):
        for _ in range(times):
            way(errors, by)
    assert events(lines) == [FIRST] * 3
    assert [line["exc_info"] for line in lines] == [True] * 3
    errors.remind(1000.0)
    assert events(lines)[3:] == [again(1), again(2), again(4)]


def test_the_end_of_the_process_is_no_defect() -> None:
    with pytest.raises(KeyboardInterrupt), ErrorLog("x").logged():
        raise KeyboardInterrupt
