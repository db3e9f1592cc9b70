"""Metrics read from a snapshot: by slot, by role, and from the start."""

import os

from hsrv.board.layout import Count, Gauge
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.board.snapshot import Snapshot, Timing
from hsrv.common.terms import DeathReason, Role
from hsrv.supervisor.admin.metrics.catalogue import CATALOGUE, MetricsSnapshot
from hsrv.supervisor.reports.resources import Usage

WORKER = (Role.WORKER, 1)
SECOND = (Role.WORKER, 2)
POOL = (Role.POOL, 1)


def board(number: int) -> Snapshot:
    scoreboard = Scoreboard(fd := new_board())
    for _ in range(number):
        scoreboard.responded(200, 0.01)
    scoreboard.responded(0, 0.01)
    scoreboard.count(Count.HANDOFFS_SENT, number)
    scoreboard.gauge(Gauge.IDLE, 10 * number)
    found = read_board(fd)
    os.close(fd)
    assert found is not None
    return found


def snapshot() -> MetricsSnapshot:
    boards = {WORKER: board(1), SECOND: board(2), POOL: board(4)}
    return MetricsSnapshot(
        hsrv="1.0",
        python="3.11",
        started_at=5.0,
        ready=True,
        generation=3,
        workers_wanted=2,
        pools_wanted=1,
        processes={(Role.WORKER, "serving"): 2},
        slots={key: one.totals for key, one in boards.items()},
        gauges={key: one.gauges for key, one in boards.items()},
        usage={WORKER: Usage(rss=10, pss=None, cpu_seconds=1.0, cpu_percent=0.0, descriptors=7)},
        cpu_seconds={WORKER: 1.5},
        deaths={("worker", "signal"): 2},
        hangs={},
        recycled={"age": 3},
        reloads={"failed": 1},
        listeners={"http://a": (4, 100)},
    )


def read(name: str) -> dict[tuple[str, ...], float | Timing]:
    (metric,) = [one for one in CATALOGUE if one.name == name]
    samples = list(metric.read(snapshot()))
    assert all(len(labels) == len(metric.labels) for labels, _ in samples)
    return dict(samples)


def test_requests_are_counted_by_slot_and_status() -> None:
    found = read("hsrv_requests_total")
    assert found["worker", "2", "2xx"] == 2
    assert found["pool", "1", "cut"] == 1
    assert found["pool", "1", "5xx"] == 0


def test_durations_are_those_of_all_slots_of_a_role_whatever_the_status() -> None:
    found = read("hsrv_request_duration_seconds")
    workers, pools = found["worker",], found["pool",]
    assert isinstance(workers, Timing)
    assert isinstance(pools, Timing)
    assert (workers.count, pools.count) == (5, 5)


def test_handoffs_are_those_of_the_whole_server() -> None:
    assert read("hsrv_handoffs_total") == {
        ("sent",): 7,
        ("refused",): 0,
        ("received",): 0,
        ("returned",): 0,
    }


def test_a_gauge_is_that_of_its_slot() -> None:
    assert read("hsrv_connections_idle") == {("worker", "1"): 10, ("worker", "2"): 20, ("pool", "1"): 40}


def test_a_death_that_has_not_happened_is_shown_as_zero() -> None:
    found = read("hsrv_process_deaths_total")
    assert found["worker", "signal"] == 2
    assert found["pool", "hung"] == 0
    assert len(found) == 2 * len(DeathReason)
    assert read("hsrv_reloads_total") == {("succeeded",): 0, ("failed",): 1}


def test_what_the_system_does_not_report_has_no_sample() -> None:
    assert read("hsrv_process_resident_memory_bytes") == {("worker", "1"): 10}
    assert read("hsrv_process_proportional_memory_bytes") == {}


def test_the_two_numbers_of_a_listener_are_not_mixed_up() -> None:
    assert read("hsrv_listener_waiting_connections") == {("http://a",): 4}
    assert read("hsrv_listener_backlog_connections") == {("http://a",): 100}
