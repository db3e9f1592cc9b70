"""From two answers of `status` to rates and quantiles."""

import msgspec
import pytest

from hsrv.common.histogram import quantile
from hsrv.rpc.operator import BoardStatus, GenerationStatus, ProcessStatus, RoleTotals, ServerStatus
from hsrv.status.rates import WINDOW, Meter, Rates, between, grow, rates

BOUNDS = [1.0, 2.0, 4.0]

TOTALS = RoleTotals(
    requests={"2xx": 0, "5xx": 0, "cut": 0},
    durations=[0, 0, 0, 0],
    duration_seconds=0.0,
    queue_wait=[0, 0, 0, 0],
    queue_wait_seconds=0.0,
    loop_lag=[0, 0, 0, 0],
    loop_lag_seconds=0.0,
    streams=[0, 0, 0, 0],
    stream_seconds=0.0,
    counts={"handoffs_sent": 0, "handoffs_received": 0, "shed": 0, "bytes_in": 0, "bytes_out": 0},
    ended={},
    stream_ended={},
)


def process(pid: int, requests: int = 0, cpu: float | None = 0.0, age: float = 100.0) -> ProcessStatus:
    board = BoardStatus(
        thread_silence=0.0,
        loop_silence=0.0,
        current=None,
        oldest=None,
        note="",
        gauges={},
        requests={"2xx": requests},
    )
    return ProcessStatus(
        name="worker-1", role="worker", slot=1, generation=1, pid=pid, state="serving", leader=True, age=age,
        rss=None, pss=None, cpu_seconds=cpu, cpu_percent=None, answers=True, report=None, deadline=None, board=board,
    )  # fmt: skip


def status(uptime: float, *processes: ProcessStatus, pid: int = 7, **totals: object) -> ServerStatus:
    return ServerStatus(
        status_version=1, hsrv="1", python="3", pid=pid, app="a:b", started_at=1000.0, uptime=uptime, phase="running",
        ready=True, not_ready_because="", workers=1, pools=1, log_level="info", listeners=[],
        generations=[
            GenerationStatus(number=1, state="serving", reload_id="", template_pid=1, processes=list(processes))
        ],
        bounds=BOUNDS,
        totals={"worker": msgspec.structs.replace(TOTALS, **totals)},
    )  # fmt: skip


def test_rates_are_differences_by_the_time_between() -> None:
    before = status(10.0, requests={"2xx": 100, "5xx": 1, "cut": 0}, counts={"shed": 4, "bytes_out": 10})
    after = status(12.0, requests={"2xx": 140, "5xx": 3, "cut": 2}, counts={"shed": 5, "bytes_out": 4010})
    worker = rates(before, after, since=before).roles["worker"]
    assert (worker.requests, worker.failed, worker.shed, worker.bytes_out) == (22.0, 2.0, 0.5, 2000.0)


def test_handoffs_are_those_sent_and_those_received() -> None:
    before = status(0.0, counts={"handoffs_sent": 1, "handoffs_received": 10})
    after = status(1.0, counts={"handoffs_sent": 3, "handoffs_received": 15})
    assert rates(before, after, since=before).roles["worker"].handoffs == 7.0


def test_a_quantile_is_that_of_what_came_since() -> None:
    """What was slow before the window is forgotten."""
    since = status(0.0, durations=[0, 0, 0, 1000])
    before = status(9.0, durations=[5, 0, 0, 1000])
    after = status(10.0, durations=[10, 0, 0, 1000])
    worker = rates(before, after, since=since).roles["worker"]
    assert (worker.p50, worker.p99) == (0.5, 0.99)
    assert rates(before, after, since=after).roles["worker"].p50 is None


def test_a_process_that_came_between_counts_from_zero_and_over_its_own_life() -> None:
    before = status(0.0, process(1, requests=50, cpu=3.0))
    after = status(2.0, process(1, requests=54, cpu=4.0), process(2, requests=6, cpu=0.5, age=1.0))
    found = rates(before, after, since=before).processes
    assert {pid: (one.requests, one.cpu) for pid, one in found.items()} == {1: (2.0, 0.5), 2: (3.0, 0.5)}


def test_what_is_not_told_is_no_zero() -> None:
    silent = msgspec.structs.replace(process(1, cpu=None), board=None)
    found = rates(status(0.0, silent), status(1.0, silent), since=status(0.0)).processes[1]
    assert (found.requests, found.cpu) == (None, None)
    told_later = rates(status(0.0, silent), status(1.0, process(1, cpu=9.0)), since=status(0.0)).processes[1]
    assert told_later.cpu is None, "nothing to compare with, though it is not new"


def test_nothing_is_negative() -> None:
    assert grow({"2xx": 9}, {"2xx": 3, "4xx": 1}) == {"2xx": 0, "4xx": 1}
    assert between([9, 0], [3, 1]) == [0, 1]
    assert between([9], [3, 1]) == [3, 1], "a histogram of other buckets is no base"


# the meter


def count(meter: Meter, uptime: float, requests: int, **more: int) -> Rates | None:
    return meter.feed(status(uptime, requests={"2xx": requests}, durations=[requests, 0, 0, 0], **more))


def test_the_first_look_has_no_rates() -> None:
    assert count(Meter(), 5.0, 100) is None


def test_an_answer_that_came_twice_changes_nothing() -> None:
    meter = Meter()
    count(meter, 1.0, 0)
    first = count(meter, 2.0, 10)
    assert first is not None
    assert count(meter, 2.0, 10) is first
    third = count(meter, 3.0, 30)
    assert third is not None
    assert third.roles["worker"].requests == 20.0


def test_quantiles_are_those_of_the_window_and_rates_those_of_the_last_look() -> None:
    meter = Meter()
    meter.feed(status(0.0, durations=[0, 0, 0, 0]))
    meter.feed(status(1.0, durations=[0, 0, 1, 0]))
    for second in range(2, 40):
        found = meter.feed(status(float(second), durations=[0, 0, 1, 0]))
        assert found is not None
        in_window = second - 1 < WINDOW
        assert (found.roles["worker"].p50 is not None) == in_window, second
    assert len(meter._seen) <= WINDOW + 2


def test_another_server_begins_anew() -> None:
    meter = Meter()
    count(meter, 1.0, 1000)
    assert count(meter, 2.0, 1010) is not None
    assert count(meter, 0.5, 3, pid=8) is None
    again = count(meter, 1.5, 5, pid=8)
    assert again is not None
    assert again.roles["worker"].requests == 2.0


def test_a_clock_that_was_set_back_is_no_rate() -> None:
    meter = Meter()
    count(meter, 100.0, 10)
    assert count(meter, 50.0, 20) is None
    later = count(meter, 51.0, 30)
    assert later is not None
    assert later.roles["worker"].requests == 10.0


# quantiles


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([10, 0, 0, 0], 0.5, 0.5),
        ([0, 10, 0, 0], 0.5, 1.5),
        ([0, 10, 0, 0], 1.0, 2.0),
        ([5, 0, 5, 0], 0.75, 3.0),
        ([0, 0, 0, 3], 0.5, 4.0),
        ([99, 0, 0, 1], 0.99, 1.0),
        ([98, 0, 0, 2], 0.99, 4.0),
    ],
)
def test_a_quantile_lies_where_the_buckets_say(counts: list[int], q: float, expected: float | None) -> None:
    assert quantile(counts, BOUNDS, q) == (None if expected is None else pytest.approx(expected))
