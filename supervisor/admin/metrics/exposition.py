"""Formats a snapshot for Prometheus, by the catalogue.

The only importer of prometheus-client's formats. Runs in a thread: the application may have many metrics.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import Metric as Family
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from hsrv.board.layout import BOUNDS
from hsrv.board.snapshot import Timing
from hsrv.supervisor.admin.metrics.catalogue import CATALOGUE, Kind, Labels, Metric, MetricsSnapshot

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_LE: Final = (*(floatToGoString(float(f"{bound:.10g}")) for bound in BOUNDS), "+Inf")
"""Upper bounds of the buckets."""


class _Families(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def families(snapshot: MetricsSnapshot) -> Iterator[Family]:
    """The server's own metrics."""
    for metric in CATALOGUE:
        yield _family(metric, snapshot)


def render(found: Iterable[Family], *, openmetrics: bool) -> bytes:
    """The page. Raises ValueError for a family that this format can't express."""
    generate = generate_openmetrics if openmetrics else generate_text
    return bytes(generate(_Families(found)))


def _family(metric: Metric, snapshot: MetricsSnapshot) -> Family:
    samples = metric.read(snapshot)
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, timing in samples:
            assert isinstance(timing, Timing)
            _add_timing(histogram, labels, timing)
        return histogram
    if metric.kind is Kind.INFO:
        info = InfoMetricFamily(metric.name.removesuffix("_info"), metric.help)
        for labels, _ in samples:
            info.add_metric((), dict(zip(metric.labels, labels, strict=True)))
        return info
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        assert not isinstance(value, Timing)
        family.add_metric(labels, value)
    return family


def _add_timing(family: HistogramMetricFamily, labels: Labels, timing: Timing) -> None:
    below, buckets = 0, []
    for bound, count in zip(_LE, timing.counts, strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric(labels, buckets, timing.seconds)
