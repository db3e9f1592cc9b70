"""Which of many events alike are told."""

import time

import pytest

from hsrv.logs import floods
from hsrv.logs.floods import KINDS, QUIET, worth_a_line


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_flood_is_told_ever_more_rarely_with_its_number(clock: list[float]) -> None:
    told = [worth_a_line("refused", 400) for _ in range(1000)]
    assert [count for count in told if count] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert worth_a_line("refused", 503) == 1, "of another kind"


def test_after_a_quiet_time_it_is_news_again(clock: list[float]) -> None:
    for _ in range(5):
        worth_a_line("refused")
    clock[0] += QUIET
    assert not worth_a_line("refused"), "not quiet for long enough"
    clock[0] += QUIET + 1
    assert [worth_a_line("refused") for _ in range(4)] == [7, 8, 0, 10]


def test_kinds_are_bounded(clock: list[float]) -> None:
    for number in range(10 * KINDS):
        worth_a_line(number)
    assert len(floods._kinds) <= KINDS + 1
    assert sum(bool(worth_a_line(number)) for number in range(20 * KINDS, 30 * KINDS)) < 10
