"""A scoreboard at one moment, and totals of one or several processes. Pure."""

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
    """A request as read from the scoreboard."""

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
        """The quantile `q` in seconds, as exactly as the buckets allow; None when nothing was observed."""
        return quantile(self.counts, BOUNDS, q)


class Totals:
    """Totals of one process, or the sum of several."""

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
        """Durations of responses, by CLASSES."""
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
    """A scoreboard at one moment."""

    pid: int
    thread_beat: float
    """time.monotonic() of the last heartbeat of a thread; 0: none yet."""
    loop_beat: float
    """The same for its event loop."""
    current: BoardRequest | None
    """The request that occupies the process in its first step, before it has waited for anything."""
    stalled: BoardRequest | None
    """The request that blocks the loop in a later step. Only valid while `loop_beat` is old, like `note`."""
    oldest: BoardRequest | None
    """The request that has been waiting longest, except streams."""
    stuck: BoardRequest | None
    """A request whose call was cancelled and doesn't end."""
    note: str
    """Where the loop is blocked, recorded by the process itself."""
    gauges: tuple[int, ...]
    """By `Gauge`."""
    totals: Totals

    def gauge(self, gauge: Gauge) -> int:
        return self.gauges[gauge]
