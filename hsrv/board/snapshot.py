"""A scoreboard at one moment, and what processes have counted, alone or together. Pure."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from hsrv.board.layout import (
    BOUNDS,
    BUCKETS,
    CLASSES,
    COUNTS_AT,
    DURATION_AT,
    DURATION_SUMS_AT,
    ENDS_AT,
    HISTOGRAM_SUMS_AT,
    HISTOGRAMS_AT,
    STREAM_ENDS_AT,
    SUMS_AT,
    TOTALS_AT,
    TOTALS_END,
    Count,
    Gauge,
    Histogram,
)
from hsrv.common.histogram import quantile
from hsrv.common.terms import EndReason


class BoardRequest(NamedTuple):
    """A request as the board shows it."""

    since: float
    """time.monotonic()"""
    method: str
    path: str
    request_id: str
    client: str


@dataclass(frozen=True, slots=True)
class Timing:
    """A histogram."""

    counts: tuple[int, ...]
    """Per bucket, not cumulative. Bounds: BOUNDS, then infinity."""
    seconds: float
    """The sum of all observations."""

    @property
    def count(self) -> int:
        return sum(self.counts)

    def __add__(self, other: "Timing") -> "Timing":
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Timing(counts, self.seconds + other.seconds)

    def __sub__(self, other: "Timing") -> "Timing":
        counts = tuple(a - b for a, b in zip(self.counts, other.counts, strict=True))
        return Timing(counts, self.seconds - other.seconds)

    def quantile(self, q: float) -> float | None:
        """Seconds below which the share `q` lies, as exactly as the buckets tell; None when nothing was observed."""
        return quantile(self.counts, BOUNDS, q)


class Totals:
    """What a process has counted, or several together."""

    __slots__ = ("_counts", "_sums")

    def __init__(self, counts: tuple[int, ...], sums: tuple[float, ...]) -> None:
        self._counts = counts
        self._sums = sums

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            tuple(map(sum, zip(self._counts, other._counts, strict=True))),
            tuple(map(sum, zip(self._sums, other._sums, strict=True))),
        )

    def count(self, count: Count) -> int:
        return self._counts[COUNTS_AT - TOTALS_AT + count]

    def ended(self) -> dict[EndReason, int]:
        """Connections that left the process, by reason."""
        at = ENDS_AT - TOTALS_AT
        return dict(zip(EndReason, self._counts[at : at + len(EndReason)], strict=True))

    def stream_ended(self) -> dict[EndReason, int]:
        """Streams and WebSockets, by reason."""
        at = STREAM_ENDS_AT - TOTALS_AT
        return dict(zip(EndReason, self._counts[at : at + len(EndReason)], strict=True))

    def durations(self) -> dict[str, Timing]:
        """Of the responses, by CLASSES."""
        return {
            kind: self._timing(DURATION_AT + n * BUCKETS, DURATION_SUMS_AT + n)
            for n, kind in enumerate(CLASSES)
        }

    def timing(self, histogram: Histogram) -> Timing:
        return self._timing(HISTOGRAMS_AT + histogram * BUCKETS, HISTOGRAM_SUMS_AT + histogram)

    def _timing(self, at: int, sum_at: int) -> Timing:
        counts = self._counts[at - TOTALS_AT : at - TOTALS_AT + BUCKETS]
        return Timing(counts, self._sums[sum_at - SUMS_AT])


NOTHING: Final = Totals((0,) * (SUMS_AT - TOTALS_AT), (0.0,) * (TOTALS_END - SUMS_AT))


class Snapshot(NamedTuple):
    """A board at one moment."""

    pid: int
    thread_beat: float
    """time.monotonic() when the process last ran a thread of its own; 0: it has not begun to."""
    loop_beat: float
    """The same of its event loop."""
    current: BoardRequest | None
    """The request that occupies the process in its first step, before it has waited for anything."""
    stalled: BoardRequest | None
    """The one that it stands still in later. Counts only while `loop_beat` is old, as `note` does."""
    oldest: BoardRequest | None
    """The one that waits for longest, streams aside."""
    stuck: BoardRequest | None
    """One whose call was cancelled, and does not end."""
    note: str
    """What the loop stands still in, as the process itself sees it."""
    gauges: tuple[int, ...]
    """By `Gauge`."""
    totals: Totals

    def gauge(self, gauge: Gauge) -> int:
        return self.gauges[gauge]
