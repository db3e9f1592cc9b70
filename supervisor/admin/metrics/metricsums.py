"""Sums of the prometheus-client metrics of many processes, as metric families. Does no I/O.

The arithmetic is that of `prometheus_client.multiprocess`, which isn't used because it reads any file, without limits.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import Metric as Family
from prometheus_client.utils import floatToGoString

from hsrv.supervisor.admin.metrics.metricfiles import BadFile, Entry, Labels

ADDED: Final = ("counter", "histogram", "summary", "gauge_sum")
CHOSEN: Final = ("gauge_max", "gauge_min", "gauge_mostrecent")
SEPARATE: Final = "gauge_all"
"""One series per process."""

KINDS: Final = (*ADDED, *CHOSEN, SEPARATE)
LIVE: Final = "gauge_live"
"""Prefix of the kinds that only count for living processes."""

Sample = tuple[str, Labels]
"""Name, and labels."""

Value = tuple[float, float]
"""Value and time."""


class Sums:
    """The sums of one reading of all files."""

    def __init__(self) -> None:
        self._families: dict[tuple[str, str], tuple[str, dict[Sample, Value]]] = {}
        """(name, type): (help, samples)."""

    def add(self, kind: str, pid: str, found: Iterable[Entry]) -> None:
        """Add one file. Raises BadFile."""
        kind = settled(kind)
        if kind not in KINDS:
            raise BadFile("of an unknown kind")
        for _, (family, name, labels, text), value, at in found:
            if kind == "gauge_mostrecent" and not at:
                continue  # never set
            _, samples = self._families.setdefault((family, kind.partition("_")[0]), (text, {}))
            sample = name, (*labels, ("pid", pid)) if kind == SEPARATE else labels
            before = samples.get(sample)
            samples[sample] = (value, at) if before is None else both(kind, before, (value, at))

    def families(self, tell: Callable[[str, str], None]) -> Iterator[Family]:
        """`tell`: called with each name that can't be exposed, and why."""
        for (name, kind), (text, samples) in self._families.items():
            values = {sample: value for sample, (value, _) in samples.items()}
            try:
                family = Family(name, text, kind)
                for sample, labels, value in (
                    _accumulated(name, values) if kind == "histogram" else _plain(values)
                ):
                    family.add_sample(sample, dict(labels), value)
            except ValueError as error:
                tell(name, str(error))
            else:
                yield family


def settled(kind: str) -> str:
    """The kind with the same arithmetic."""
    return kind.replace(LIVE, "gauge_", 1)


def both(kind: str, one: Value, other: Value) -> Value:
    """The combined value of two processes."""
    if kind == "gauge_max":
        return max(one, other)
    if kind == "gauge_min":
        return min(one, other)
    if kind == "gauge_mostrecent":
        return max(one, other, key=lambda value: value[1])
    return one[0] + other[0], 0.0


def _plain(values: dict[Sample, float]) -> Iterator[tuple[str, Labels, float]]:
    for (name, labels), value in values.items():
        yield name, labels, value


def _accumulated(family: str, values: dict[Sample, float]) -> Iterator[tuple[str, Labels, float]]:
    """The samples of a histogram. In the files an observation is in one bucket only; exposed buckets include those
    below. Raises ValueError."""
    sums: dict[Labels, list[tuple[str, float]]] = defaultdict(list)
    buckets: dict[Labels, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for (name, labels), value in values.items():
        rest = tuple(label for label in labels if label[0] != "le")
        if rest == labels:
            sums[rest].append((name, value))
        else:
            buckets[rest][float(dict(labels)["le"])] += value
    for labels in dict.fromkeys((*sums, *buckets)):
        yield from ((name, labels, value) for name, value in sums[labels])
        yield from _buckets(family, labels, sorted(buckets[labels].items()))


def _buckets(
    family: str, labels: Labels, counts: Iterable[tuple[float, float]]
) -> Iterator[tuple[str, Labels, float]]:
    below = 0.0
    for bound, count in counts:
        below += count
        yield f"{family}_bucket", (*labels, ("le", floatToGoString(bound))), below
    yield f"{family}_count", labels, below
