"""Scoreboards in the words of `status`: written on real boards, read as the supervisor reads them."""

import os
from collections.abc import Iterator

import pytest

from hsrv.board.layout import STALLED_AFTER, Count, Gauge, Histogram, Occupant
from hsrv.board.scoreboard import Scoreboard, bucket_of, new_board, read_board
from hsrv.board.snapshot import NOTHING, Snapshot
from hsrv.common.terms import EndReason, Role
from hsrv.rpc.methods import ChildReport
from hsrv.rpc.operator import BoardStatus, Occupying
from hsrv.supervisor.reports.boards import board_status, by_role, with_counters

NOW = 1000.0
SILENT = NOW - STALLED_AFTER
"""The last sign of life of a loop that stands still."""
TURNS = SILENT + 0.01
"""And of one that doesn't."""


@pytest.fixture
def fd() -> Iterator[int]:
    fd = new_board()
    yield fd
    os.close(fd)


@pytest.fixture
def board(fd: int) -> Scoreboard:
    board = Scoreboard(fd)
    board.thread_beat(NOW)
    board.loop_beat(NOW, 0.0)
    return board


def read(fd: int) -> Snapshot:
    snapshot = read_board(fd)
    assert snapshot is not None
    return snapshot


def told(fd: int) -> BoardStatus:
    status = board_status(read(fd), NOW)
    assert status is not None
    return status


# one board


def test_the_counters_of_a_report_are_those_of_the_board(fd: int, board: Scoreboard) -> None:
    """A worker has no parking lot and a pool parks nothing elsewhere, so one sum is right for both."""
    for gauge, value in ((Gauge.CONNECTIONS, 5), (Gauge.WEBSOCKETS, 2), (Gauge.PARKED, 3)):
        board.gauge(gauge, value)
    board.gauge(Gauge.IDLE, 4)
    board.gauge(Gauge.WAITING, 1)
    board.count(Count.UNDECODABLE, 6)
    for count in (Count.HANDOFFS_SENT, Count.HANDOFFS_RECEIVED, Count.PARKED, Count.ADOPTED, Count.ACCEPTED):
        board.count(count)
    board.count(Count.ACCEPTED)
    board.ended.add(EndReason.COMPLETED)
    said = ChildReport(running=9, oldest=[], streams={}, connections=77, accepted=77, ended={"x": 77})
    assert with_counters(said, read(fd)) == ChildReport(
        running=9,
        oldest=[],
        streams={},
        connections=10,
        idle=4,
        waiting=1,
        handoffs_sent=1,
        handoffs_received=1,
        parked=4,
        adopted=1,
        undecodable=6,
        accepted=2,
        ended={str(EndReason.COMPLETED): 1},
    )


def test_without_a_board_a_report_is_left_as_it_is(fd: int) -> None:
    report = ChildReport(running=1, oldest=[], streams={})
    assert with_counters(report, read_board(fd)) is report


def test_without_a_board_there_is_nothing_to_tell(fd: int) -> None:
    assert board_status(read_board(fd), NOW) is None


def test_who_has_never_beaten_is_not_silent(fd: int) -> None:
    Scoreboard(fd)
    assert (told(fd).thread_silence, told(fd).loop_silence) == (0.0, 0.0)


def test_silences_are_told_apart_in_milliseconds(fd: int, board: Scoreboard) -> None:
    board.thread_beat(NOW - 1.23449)
    board.loop_beat(NOW - 5.6789, 0.0)
    assert (told(fd).thread_silence, told(fd).loop_silence) == (1.234, 5.679)


def test_a_request_in_its_first_step_is_told_whole(fd: int, board: Scoreboard) -> None:
    board.begin(NOW - 2.5, "POST", b"/caf\xc3\xa9", "req-1", b"10.0.0.9:1")
    assert told(fd).current == Occupying(
        method="POST", path="/café", request_id="req-1", client="10.0.0.9:1", seconds=2.5
    )
    board.paused()
    assert told(fd).current is None


def occupant(path: bytes) -> Occupant:
    return Occupant(NOW - 1.5, "GET", path, "req-2", b"10.0.0.8:2")


@pytest.mark.parametrize(("beat", "path", "note"), [(SILENT, "/stalled", "in f()"), (TURNS, None, "")])
def test_what_the_loop_stood_still_in_counts_while_it_does(
    fd: int, board: Scoreboard, beat: float, path: str | None, note: str
) -> None:
    board.stalled(occupant(b"/stalled"), "in f()")
    board.loop_beat(beat, 0.0)
    current = told(fd).current
    assert (current.path if current is not None else None, told(fd).note) == (path, note)


def test_a_request_in_its_first_step_comes_before_one_that_had_waited(fd: int, board: Scoreboard) -> None:
    board.stalled(occupant(b"/stalled"), "in f()")
    board.begin(NOW - 1.0, "GET", b"/current", "req-1", b"10.0.0.9:1")
    board.loop_beat(SILENT, 0.0)
    assert told(fd).current == Occupying(
        method="GET", path="/current", request_id="req-1", client="10.0.0.9:1", seconds=1.0
    )


def test_the_oldest_is_told_whether_the_loop_turns_or_not(fd: int, board: Scoreboard) -> None:
    board.oldest(occupant(b"/oldest"))
    for beat in (TURNS, SILENT):
        board.loop_beat(beat, 0.0)
        assert told(fd).oldest == Occupying(
            method="GET", path="/oldest", request_id="req-2", client="10.0.0.8:2", seconds=1.5
        )
        assert told(fd).current is None


def test_every_gauge_has_its_own_name(fd: int, board: Scoreboard) -> None:
    for gauge in Gauge:
        board.gauge(gauge, 100 + gauge)
    assert told(fd).gauges == {gauge.name.lower(): 100 + gauge for gauge in Gauge}


def test_responses_are_counted_by_class(fd: int, board: Scoreboard) -> None:
    for status, times in ((0, 1), (101, 2), (200, 3), (304, 4), (404, 5), (503, 6)):
        for _ in range(times):
            board.responded(status, 0.001)
    assert told(fd).requests == {"cut": 1, "1xx": 2, "2xx": 3, "3xx": 4, "4xx": 5, "5xx": 6}


# the roles


def test_both_roles_are_told_though_nobody_has_counted() -> None:
    roles = by_role({})
    assert set(roles) == {"worker", "pool"}
    for totals in roles.values():
        assert set(totals.requests.values()) == set(totals.counts.values()) == {0}
        assert (totals.ended, totals.stream_ended, sum(totals.durations)) == ({}, {}, 0)


def test_the_slots_of_a_role_are_added_up(fd: int, board: Scoreboard) -> None:
    for count in Count:
        board.count(count, 10 + count)
    one = read(fd).totals
    roles = by_role(
        {(Role.WORKER, 1): one, (Role.WORKER, 2): one, (Role.POOL, 1): one, (Role.POOL, 2): NOTHING}
    )
    assert roles["worker"].counts == {count.name.lower(): 2 * (10 + count) for count in Count}
    assert roles["pool"].counts == {count.name.lower(): 10 + count for count in Count}


def test_durations_are_of_all_classes_together(fd: int, board: Scoreboard) -> None:
    statuses = (0, 101, 200, 304, 404, 503)
    for n, status in enumerate(statuses):
        board.responded(status, 0.001 * 2**n)
    worker = by_role({(Role.WORKER, 1): read(fd).totals})["worker"]
    assert worker.requests == dict.fromkeys(("cut", "1xx", "2xx", "3xx", "4xx", "5xx"), 1)
    assert [n for n, count in enumerate(worker.durations) if count == 1] == [
        bucket_of(0.001 * 2**n) for n in range(len(statuses))
    ]
    assert sum(worker.durations) == len(statuses)
    assert worker.duration_seconds == 0.063


def test_each_histogram_is_told_under_its_name(fd: int) -> None:
    board = Scoreboard(fd)
    seconds = {Histogram.QUEUE_WAIT: 0.001, Histogram.LOOP_LAG: 0.1, Histogram.STREAM: 100.0}
    for histogram, value in seconds.items():
        board.observe(histogram, value)
    totals = by_role({(Role.POOL, 1): read(fd).totals})["pool"]
    assert [
        (counts.index(1), sum(counts), value)
        for counts, value in (
            (totals.queue_wait, totals.queue_wait_seconds),
            (totals.loop_lag, totals.loop_lag_seconds),
            (totals.streams, totals.stream_seconds),
        )
    ] == [(bucket_of(value), 1, value) for value in seconds.values()]


def test_seconds_are_told_in_microseconds(fd: int, board: Scoreboard) -> None:
    board.responded(200, 0.12345678)
    for histogram in Histogram:
        board.observe(histogram, 0.12345678)
    totals = by_role({(Role.WORKER, 1): read(fd).totals})["worker"]
    assert {
        totals.duration_seconds,
        totals.queue_wait_seconds,
        totals.loop_lag_seconds,
        totals.stream_seconds,
    } == {0.123457}


def test_only_reasons_that_have_happened_are_told_and_ends_are_not_mixed(fd: int, board: Scoreboard) -> None:
    board.ended[EndReason.IDLE_TIMEOUT] += 2
    board.stream_ended[EndReason.DRAINED] += 3
    totals = by_role({(Role.WORKER, 1): read(fd).totals})["worker"]
    assert (totals.ended, totals.stream_ended) == ({"idle_timeout": 2}, {"drained": 3})
