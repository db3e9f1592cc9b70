"""The catalogue by the conventions, its page, and the formats."""

import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from hsrv.board.layout import BOUNDS, Count, Gauge, Histogram
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.board.snapshot import NOTHING
from hsrv.common.terms import EndReason, Role
from hsrv.supervisor.admin.metrics.catalogue import CATALOGUE, Kind, MetricsSnapshot
from hsrv.supervisor.admin.metrics.exposition import families, render
from hsrv.supervisor.admin.metrics.metricdocs import render as render_docs
from hsrv.supervisor.admin.metrics.metrics import prefers_openmetrics
from hsrv.supervisor.reports.resources import Usage

PAGE = Path(__file__).parent.parent.parent.parent.parent.parent / "docs" / "metrics.md"
UNITS = ("seconds", "bytes", "connections")


@pytest.fixture
def snapshot() -> MetricsSnapshot:
    """Of a worker that has seen something of everything."""
    board = Scoreboard(fd := new_board())
    for n in range(10):
        board.responded(200, 0.001 * n)
    board.responded(0, 1e6)
    for histogram in Histogram:
        board.observe(histogram, 0.5)
    for count in Count:
        board.count(count, 1000 + count)
    for gauge in Gauge:
        board.gauge(gauge, 2000 + gauge)
    board.ended[EndReason.COMPLETED] += 3
    snapshot = read_board(fd)
    assert snapshot is not None
    key = Role.WORKER, 1
    return MetricsSnapshot(
        hsrv="1.2",
        python='3.11 "quoted"\n',
        started_at=1e9,
        ready=True,
        generation=3,
        workers_wanted=2,
        pools_wanted=1,
        processes={(Role.WORKER, "serving"): 2},
        slots={key: snapshot.totals, (Role.POOL, 1): NOTHING},
        gauges={key: snapshot.gauges},
        usage={key: Usage(100, None, 1.5, 3.0, 12)},
        cpu_seconds={key: 2.5},
        deaths={("worker", "signal"): 2},
        hangs={("pool", "loop_blocked"): 3},
        recycled={"age": 1},
        reloads={"failed": 1},
        listeners={"http://127.0.0.1:8000": (0, 2048)},
    )


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == render_docs(), (
        "run: python -m hsrv.supervisor.admin.metrics.metricdocs > docs/metrics.md"
    )


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: object) -> None:
    [one] = [known for known in CATALOGUE if known is metric]
    assert re.fullmatch(r"hsrv_[a-z]+(_[a-z]+)*", one.name)
    assert one.name.endswith("_total") == (one.kind is Kind.COUNTER)
    assert one.name.endswith("_info") == (one.kind is Kind.INFO)
    assert one.help.endswith(".")
    assert "\n" not in one.help
    if one.kind is Kind.HISTOGRAM:
        assert one.name.endswith("_seconds")
    assert not re.search(r"_(ms|milliseconds|kb|count|sum|bucket)(_|$)", one.name)


def test_no_two_families_share_a_name() -> None:
    names = [metric.name.removesuffix("_total").removesuffix("_info") for metric in CATALOGUE]
    assert len(set(names)) == len(names)


def test_both_formats_say_the_same(snapshot: MetricsSnapshot) -> None:
    pages = [render(families(snapshot), openmetrics=one).decode() for one in (False, True)]
    text = {(s.name, *sorted(s.labels.items())): s.value for f in parse_text(pages[0]) for s in f.samples}
    openmetrics = {
        (s.name, *sorted(s.labels.items())): s.value for f in parse_openmetrics(pages[1]) for s in f.samples
    }
    assert text == openmetrics
    assert text["hsrv_requests_total", ("role", "worker"), ("slot", "1"), ("status", "2xx")] == 10
    assert text["hsrv_requests_total", ("role", "worker"), ("slot", "1"), ("status", "cut")] == 1
    assert text["hsrv_request_duration_seconds_count", ("role", "worker")] == 11
    assert text["hsrv_request_duration_seconds_bucket", ("le", "+Inf"), ("role", "worker")] == 11
    assert text["hsrv_request_duration_seconds_bucket", ("le", "0.0001"), ("role", "worker")] == 1
    assert text["hsrv_request_duration_seconds_bucket", ("le", "0.0064"), ("role", "worker")] == 7
    assert text["hsrv_handoffs_total", ("outcome", "refused")] == 1000 + Count.HANDOFFS_REFUSED
    assert text["hsrv_connections_ended_total", ("reason", "completed"), ("role", "worker")] == 3
    assert text["hsrv_streams_open", ("role", "worker"), ("slot", "1")] == 2000 + Gauge.STREAMS
    assert text["hsrv_reloads_total", ("outcome", "succeeded")] == 0
    assert text["hsrv_process_deaths_total", ("reason", "signal"), ("role", "worker")] == 2
    assert text["hsrv_process_deaths_total", ("reason", "hung"), ("role", "worker")] == 0
    assert text["hsrv_process_hangs_total", ("kind", "loop_blocked"), ("role", "pool")] == 3
    assert text["hsrv_ready",] == 1
    assert text["hsrv_build_info", ("python", snapshot.python), ("version", "1.2")] == 1
    assert not [key for key in text if key[0] == "hsrv_process_proportional_memory_bytes"], "nobody knows it"
    bounds = {key[1][1] for key in text if key[0] == "hsrv_loop_lag_seconds_bucket" and key[1][0] == "le"}
    assert len(bounds) == len(BOUNDS) + 1
    assert all(len(bound) <= len("209.7152") for bound in bounds), "no rounding error is shown"


def test_all_that_the_scoreboards_count_is_shown(snapshot: MetricsSnapshot) -> None:
    shown = {sample.value for family in families(snapshot) for sample in family.samples}
    assert {1000 + count for count in Count} | {2000 + gauge for gauge in Gauge} <= shown


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", True),
        ("application/openmetrics-text;q=0.1, text/plain", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        ("APPLICATION/OpenMetrics-Text", True),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_is_asked_for(accept: str, expected: bool) -> None:
    assert prefers_openmetrics(accept) is expected
