"""The formats of Prometheus, from a catalogue of metrics."""

from prometheus_client.core import CounterMetricFamily

from hsrv.board.layout import BOUNDS, BUCKETS
from hsrv.board.snapshot import Timing
from hsrv.supervisor.admin.metrics.catalogue import Kind, Metric, MetricsSnapshot, Sample
from hsrv.supervisor.admin.metrics.exposition import _family, render


def lines(kind: Kind, name: str, labels: tuple[str, ...], *samples: Sample) -> list[str]:
    metric = Metric(name, kind, "Help.", labels, lambda snapshot: samples)
    snapshot: MetricsSnapshot = None  # type: ignore[assignment]  # this metric doesn't read it
    return render([_family(metric, snapshot)], openmetrics=False).decode().splitlines()


def test_a_counter_and_a_gauge_have_a_line_for_each_sample() -> None:
    found = lines(Kind.COUNTER, "a_total", ("role",), (("worker",), 3), (("pool",), 4))
    assert found[1:] == ["# TYPE a_total counter", 'a_total{role="worker"} 3.0', 'a_total{role="pool"} 4.0']
    assert lines(Kind.GAUGE, "a", (), ((), 3))[1:] == ["# TYPE a gauge", "a 3.0"]


def test_the_buckets_of_a_histogram_are_cumulative_and_end_with_infinity() -> None:
    timing = Timing(tuple(range(BUCKETS)), 12.5)
    found = lines(Kind.HISTOGRAM, "a_seconds", ("role",), (("pool",), timing))
    buckets = [line for line in found if "_bucket" in line]
    assert len(buckets) == len(BOUNDS) + 1
    assert buckets[2] == 'a_seconds_bucket{le="0.0004",role="pool"} 3.0'
    assert buckets[-1] == f'a_seconds_bucket{{le="+Inf",role="pool"}} {sum(range(BUCKETS))}.0'
    assert 'a_seconds_sum{role="pool"} 12.5' in found


def test_information_is_in_the_labels() -> None:
    found = lines(Kind.INFO, "a_info", ("version", "python"), (("1.0", "3.11"), 1))
    assert found[-1] == 'a_info{python="3.11",version="1.0"} 1.0'


def test_the_other_format_ends_with_its_mark() -> None:
    counter = CounterMetricFamily("a", "Help.", value=1)
    assert render([counter], openmetrics=True).endswith(b"a_total 1.0\n# EOF\n")
    assert b"EOF" not in render([counter], openmetrics=False)
