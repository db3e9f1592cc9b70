"""What one process writes is what another one reads."""

import math
import os
import struct
import time
from collections.abc import Iterator

import msgspec
import pytest

from hsrv.board.layout import (
    BOUNDS,
    BUCKETS,
    LAYOUT,
    LAYOUT_AT,
    SIZE,
    WORD,
    Count,
    Gauge,
    Histogram,
    Occupant,
)
from hsrv.board.scoreboard import Scoreboard, bucket_of, new_board, read_board
from hsrv.board.snapshot import NOTHING, BoardRequest, Snapshot, Timing
from hsrv.common.terms import EndReason, Role
from hsrv.rpc.operator import BoardStatus, RoleTotals
from hsrv.supervisor.reports.boards import board_status, by_role

WHO = Occupant(12.5, "GET", b"/caf%C3%A9", "req-1", b"10.0.0.9")


@pytest.fixture
def fd() -> Iterator[int]:
    fd = new_board()
    yield fd
    os.close(fd)


@pytest.fixture
def board(fd: int) -> Scoreboard:
    return Scoreboard(fd)


def read(fd: int) -> Snapshot:
    snapshot = read_board(fd)
    assert snapshot is not None
    return snapshot


def test_a_board_without_a_writer_says_nothing(fd: int) -> None:
    assert read_board(fd) is None


def test_a_board_of_another_layout_is_not_read(fd: int) -> None:
    Scoreboard(fd)
    assert read_board(fd) is not None
    os.pwrite(fd, struct.pack("q", LAYOUT + 1), LAYOUT_AT * WORD)
    assert read_board(fd) is None


def test_a_fresh_board_is_empty(fd: int, board: Scoreboard) -> None:
    snapshot = read(fd)
    assert snapshot.pid == os.getpid()
    assert snapshot.current is snapshot.oldest is snapshot.stalled is None
    assert snapshot.note == ""
    assert snapshot.gauges == (0,) * len(Gauge)
    assert (snapshot.totals + NOTHING).durations()["2xx"].count == 0


def test_heartbeats(fd: int, board: Scoreboard) -> None:
    board.thread_beat(3.25)
    board.loop_beat(4.5, 0.002)
    snapshot = read(fd)
    assert (snapshot.thread_beat, snapshot.loop_beat) == (3.25, 4.5)
    assert snapshot.totals.timing(Histogram.LOOP_LAG) == _one(0.002)


def test_the_request_that_occupies_the_process(fd: int, board: Scoreboard) -> None:
    board.begin(*WHO)
    assert read(fd).current == BoardRequest(12.5, "GET", "/caf%C3%A9", "req-1", "10.0.0.9")
    board.paused()
    assert read(fd).current is None


def test_a_call_that_does_not_end(fd: int, board: Scoreboard) -> None:
    board.stuck(WHO)
    assert read(fd).stuck == BoardRequest(12.5, "GET", "/caf%C3%A9", "req-1", "10.0.0.9")
    assert read(fd).oldest is read(fd).stalled is read(fd).current is None
    board.stuck(None)
    assert read(fd).stuck is None


def test_long_texts_are_cut(fd: int, board: Scoreboard) -> None:
    board.begin(1.0, "M" * 99, b"/" * 9999, "i" * 999, b"c" * 999)
    current = read(fd).current
    assert current is not None
    assert (len(current.method), len(current.path)) == (16, 256)
    assert (len(current.request_id), len(current.client)) == (64, 64)
    assert read(fd).oldest is None, "the neighbour was not written to"


def test_the_oldest_and_the_stalled(fd: int, board: Scoreboard) -> None:
    board.oldest(WHO)
    board.stalled(WHO._replace(since=13.0), "in f (app.py:1)" + "é" * 5000)
    snapshot = read(fd)
    assert snapshot.oldest is not None
    assert snapshot.oldest.since == 12.5
    assert snapshot.stalled is not None
    assert snapshot.stalled.since == 13.0
    assert snapshot.note.startswith("in f (app.py:1)éé")
    board.oldest(None)
    board.stalled(None, "")
    assert read(fd).oldest is read(fd).stalled is None
    assert read(fd).note == ""


@pytest.mark.parametrize(
    ("status", "kind"), [(0, "cut"), (101, "1xx"), (204, "2xx"), (302, "3xx"), (404, "4xx"), (599, "5xx")]
)
def test_responses_by_class(fd: int, board: Scoreboard, status: int, kind: str) -> None:
    board.responded(status, 0.003)
    durations = read(fd).totals.durations()
    assert durations.pop(kind) == _one(0.003)
    assert all(timing.count == 0 for timing in durations.values())


@pytest.mark.parametrize("which", list(Count))
def test_counters_don_t_touch_each_other(fd: int, board: Scoreboard, which: Count) -> None:
    board.count(which, 7)
    board.count(which)
    totals = read(fd).totals
    assert {count: totals.count(count) for count in Count if totals.count(count)} == {which: 8}
    assert not any(totals.ended().values())


@pytest.mark.parametrize("gauge", list(Gauge))
def test_gauges_don_t_touch_each_other(fd: int, board: Scoreboard, gauge: Gauge) -> None:
    board.gauge(gauge, 5)
    assert [one for one in Gauge if read(fd).gauge(one)] == [gauge]
    board.gauge(gauge, 0)
    assert not any(read(fd).gauges)


def test_ends_by_reason(fd: int, board: Scoreboard) -> None:
    board.ended[EndReason.SHED] += 2
    board.stream_ended[EndReason.DRAINED] += 1
    totals = read(fd).totals
    assert {k: v for k, v in totals.ended().items() if v} == {EndReason.SHED: 2}
    assert {k: v for k, v in totals.stream_ended().items() if v} == {EndReason.DRAINED: 1}
    assert dict(board.ended) == {EndReason.SHED: 2}
    assert len(board.ended) == 1


@pytest.mark.parametrize("histogram", list(Histogram))
def test_histograms_don_t_touch_each_other(fd: int, board: Scoreboard, histogram: Histogram) -> None:
    board.observe(histogram, 0.5)
    totals = read(fd).totals
    assert [one for one in Histogram if totals.timing(one).count] == [histogram]


@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds_of_buckets(bound: float) -> None:
    at = BOUNDS.index(bound)
    assert bucket_of(bound * 0.999) == at
    assert bucket_of(bound * 1.001) == at + 1


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9, math.inf])
def test_every_duration_has_a_bucket(fd: int, board: Scoreboard, seconds: float) -> None:
    assert 0 <= bucket_of(seconds) < BUCKETS
    board.responded(200, seconds)
    assert read(fd).totals.durations()["2xx"].count == 1


def test_quantiles() -> None:
    assert Timing((0,) * BUCKETS, 0.0).quantile(0.5) is None
    slow, fast = bucket_of(1.0), bucket_of(0.001)
    counts = tuple(99 if n == fast else 1 if n == slow else 0 for n in range(BUCKETS))
    timing = Timing(counts, 1.099)
    assert timing.count == 100
    median, p995 = timing.quantile(0.5), timing.quantile(0.995)
    assert median is not None
    assert p995 is not None
    assert 0.0005 < median < 0.002
    assert 0.5 < p995 < 2.0
    assert (timing - timing).count == 0


def test_totals_add_up(fd: int, board: Scoreboard) -> None:
    board.responded(200, 0.25)
    board.count(Count.ACCEPTED, 3)
    once = read(fd).totals
    twice = once + once
    assert twice.count(Count.ACCEPTED) == 6
    assert twice.durations()["2xx"].count == 2
    assert twice.durations()["2xx"].seconds == 0.5


def _one(seconds: float) -> Timing:
    return Timing(tuple(int(n == bucket_of(seconds)) for n in range(BUCKETS)), seconds)


@pytest.mark.parametrize(
    "word",
    [
        b"\xff" * 8,
        struct.pack("d", float("nan")),
        struct.pack("d", float("inf")),
        struct.pack("d", -1e300),
        struct.pack("d", 1e300),
        b"\xff" * 7 + b"\x7f",
    ],
)
def test_what_nobody_can_have_written_is_not_told(word: bytes) -> None:
    """A child scribbles over its board."""
    fd = new_board()
    try:
        Scoreboard(fd)
        os.pwrite(fd, word * ((SIZE - 2 * WORD) // WORD), 2 * WORD)
        snapshot = read_board(fd)
        assert snapshot is not None
        status = board_status(snapshot, time.monotonic())
        totals = by_role({(Role.WORKER, 1): snapshot.totals, (Role.WORKER, 2): snapshot.totals})
        told = msgspec.json.encode((status, totals))
        assert msgspec.json.decode(told, type=tuple[BoardStatus, dict[str, RoleTotals]]) == (status, totals)
        assert b"null" not in told.replace(b'"current":null', b"").replace(b'"oldest":null', b"")
        assert b"e+" not in told
        assert snapshot.totals.timing(Histogram.LOOP_LAG).seconds == 0.0
    finally:
        os.close(fd)
