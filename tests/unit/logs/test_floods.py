"""Which of many events alike are told."""

import time

import pytest

from hsrv.logs import floods
from hsrv.logs.floods import KINDS, QUIET, lines_due


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_flood_is_told_ever_more_rarely_with_its_number(clock: list[float]) -> None:
    told = [lines_due("refused", 400) for _ in range(1000)]
    assert [count for count in told if count] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert lines_due("refused", 503) == 1, "of another kind"


def test_after_a_quiet_time_it_is_news_again(clock: list[float]) -> None:
    for _ in range(5):
        lines_due("refused")
    clock[0] += QUIET
    assert not lines_due("refused"), "not quiet for long enough"
    clock[0] += QUIET + 1
    assert [lines_due("refused") for _ in range(4)] == [7, 8, 0, 10]


def test_kinds_are_bounded(clock: list[float]) -> None:
    for number in range(10 * KINDS):
        lines_due(number)
    assert len(floods._kinds) <= KINDS + 1
    assert sum(bool(lines_due(number)) for number in range(20 * KINDS, 30 * KINDS)) < 10
