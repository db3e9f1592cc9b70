"""What a process is doing, in memory that the supervisor reads without asking it.

One anonymous file per worker and pool: the process maps it and is its only writer, the supervisor reads it whole. A
word is written at once or not at all, so nobody locks. Promises: an update never blocks and costs well under a
microsecond; each total that is read was true a moment ago; what a process counted survives its death, for the
supervisor adds it to the totals of its slot. Must not know who writes or reads.

A text (which request runs) may be read half-written. It matters only for a request that runs for long, and by then it
stands still.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from hsrv.anonfile import anonymous_file
from hsrv.rates import quantile
from hsrv.terms import EndReason

WORD: Final = 8

CLASSES: Final = ("cut", "1xx", "2xx", "3xx", "4xx", "5xx")
"""Of responses, by the first digit of the status. "cut": one that never was begun."""

BUCKETS: Final = 24
"""Of every histogram. The first holds what is below FIRST_BOUND, each further one what is below twice the bound before,
the last one everything else."""

FIRST_BOUND: Final = 0.0001
"""Seconds."""

MOST: Final = 1 << 53
"""Of seconds, of events and of bytes. What is more isn't true, and the sum of many such would not fit into what is
told."""

_SCALE: Final = 1 / FIRST_BOUND
_LAST: Final = BUCKETS - 1
_MOST: Final = float(1 << _LAST - 1)
"""From here on, in units of FIRST_BOUND, everything belongs to the last bucket."""


class Gauge(IntEnum):
    """What is so at present."""

    CONNECTIONS = 0
    IDLE = 1
    """Of the connections: between two requests."""
    WAITING = 2
    """Requests that wait for a place, or for room in the handoff channel."""
    IN_FLIGHT = 3
    """Application calls that wait for something, streams among them. One that computes is `Snapshot.current`."""
    STREAMS = 4
    """Of these: responses that turned out to be long-lived."""
    WEBSOCKETS = 5
    PARKED = 6
    """Idle connections in the parking lot."""


class Count(IntEnum):
    """What has happened so far."""

    ACCEPTED = 0
    """New connections."""
    ADOPTED = 1
    """Idle connections from other processes."""
    HANDOFFS_SENT = 2
    HANDOFFS_REFUSED = 3
    """Requests for the pool that got 503."""
    HANDOFFS_RECEIVED = 4
    PARKED = 5
    """Idle connections sent to the parking lot."""
    UNDECODABLE = 6
    """Packets that were dropped."""
    STREAMS_OPENED = 7
    WEBSOCKETS_OPENED = 8
    STREAMS_IN_WORKER = 9
    """Streams that nobody had announced."""
    SHED = 10
    """Requests answered with 503 because a queue or limit was full. They count as responses too."""
    REFUSED = 11
    """Requests answered with an error of their own. They count as responses too."""
    APP_ERRORS = 12
    TIMED_OUT = 13
    """Requests that ran longer than --request-timeout and were cancelled."""
    BYTES_IN = 14
    BYTES_OUT = 15
    RESCUED = 16
    """Connections moved to other workers because the event loop stood still."""


class Histogram(IntEnum):
    """Of seconds."""

    QUEUE_WAIT = 0
    """From a complete head to the application's call, of requests that had to wait, here or for another process."""
    LOOP_LAG = 1
    """How late a timer of the event loop acted."""
    STREAM = 2
    """How long a stream or WebSocket lived."""


# The map, in words. Times are those of time.monotonic(), the same for all processes of one machine.
LAYOUT_AT: Final = 0
PID_AT: Final = 1
THREAD_BEAT_AT: Final = 2
LOOP_BEAT_AT: Final = 3
GAUGES_AT: Final = 8
TOTALS_AT: Final = GAUGES_AT + 16
"""From here on counters, up to SUMS_AT whole numbers, then seconds."""
COUNTS_AT: Final = TOTALS_AT
ENDS_AT: Final = COUNTS_AT + len(Count)
STREAM_ENDS_AT: Final = ENDS_AT + len(EndReason)
DURATION_AT: Final = STREAM_ENDS_AT + len(EndReason)
HISTOGRAMS_AT: Final = DURATION_AT + len(CLASSES) * BUCKETS
SUMS_AT: Final = HISTOGRAMS_AT + len(Histogram) * BUCKETS
DURATION_SUMS_AT: Final = SUMS_AT
HISTOGRAM_SUMS_AT: Final = DURATION_SUMS_AT + len(CLASSES)
TOTALS_END: Final = HISTOGRAM_SUMS_AT + len(Histogram)

_REQUEST: Final = struct.Struct("d16s256s64s64s")
"""Since when, method, path, request id, client: the texts cut, and filled up with NUL."""
_pack_into: Final = _REQUEST.pack_into
_METHODS: Final = {
    name: name.encode() for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
CURRENT: Final = TOTALS_END * WORD
"""Byte offset of the request whose application call occupies the process, or did when the loop last stood still."""
CURRENT_AT: Final = TOTALS_END
OLDEST: Final = CURRENT + _REQUEST.size
"""The same of the one that waits for longest, streams aside."""
STALLED: Final = OLDEST + _REQUEST.size
"""The same of the one that the loop stands still in, as the heartbeat thread sees it: calls that had waited before."""
STUCK: Final = STALLED + _REQUEST.size
"""The same of one that was cancelled and goes on all the same."""
NOTE: Final = STUCK + _REQUEST.size
"""Where it stands, for people: NUL-terminated."""
NOTE_SIZE: Final = 2048
SIZE: Final = -(-(NOTE + NOTE_SIZE) // mmap.PAGESIZE) * mmap.PAGESIZE

LAYOUT: Final = zlib.crc32(
    repr(
        (
            1,
            BUCKETS,
            FIRST_BOUND,
            CLASSES,
            list(Gauge),
            list(Count),
            list(Histogram),
            list(EndReason),
            SIZE,
            _REQUEST.format,
            NOTE,
        )
    ).encode()
)
"""Generations of one server may differ in code: a reader takes only what is laid out like its own."""


class Occupant(NamedTuple):
    """A request that occupies its process, as that puts it on the board."""

    since: float
    """time.monotonic()"""
    method: str
    path: bytes
    request_id: str
    client: bytes


_BYTES_IN_AT: Final = COUNTS_AT + Count.BYTES_IN
_BYTES_OUT_AT: Final = COUNTS_AT + Count.BYTES_OUT

NO_REQUEST: Final = Occupant(0.0, "", b"", "", b"")

_END_AT: Final = {reason: ENDS_AT + n for n, reason in enumerate(EndReason)}
_STREAM_END_AT: Final = {reason: STREAM_ENDS_AT + n for n, reason in enumerate(EndReason)}


def new_board() -> int:
    """The descriptor of an empty scoreboard, close-on-exec. Raises OSError."""
    fd = anonymous_file("hsrv-scoreboard")
    os.ftruncate(fd, SIZE)
    return fd


def bucket_of(seconds: float) -> int:
    """The bucket of a histogram."""
    units = seconds * _SCALE
    return int(units).bit_length() if units < _MOST else _LAST


BOUNDS: Final = tuple(FIRST_BOUND * (1 << n) for n in range(_LAST))
"""Upper bounds of all buckets but the last, in seconds."""


class Scoreboard:
    """The writer's side. One per process, used by its event loop; the heartbeat thread writes words of its own."""

    __slots__ = ("_bytes", "_ints", "_times", "ended", "stream_ended")

    def __init__(self, fd: int | None = None) -> None:
        """`fd`: of `new_board()`, stays the caller's; None: a board that nobody reads."""
        self._bytes = mmap.mmap(-1 if fd is None else fd, SIZE)
        view = memoryview(self._bytes)
        self._ints = view.cast("q")
        self._times = view.cast("d")
        self.ended = EndCounts(self._ints, _END_AT)
        """Connections that left this process, by reason."""
        self.stream_ended = EndCounts(self._ints, _STREAM_END_AT)
        """Streams and WebSockets that ended here, by reason."""
        self._ints[PID_AT] = os.getpid()
        self._ints[LAYOUT_AT] = LAYOUT

    # heartbeats

    def thread_beat(self, now: float) -> None:
        self._times[THREAD_BEAT_AT] = now

    def loop_beat(self, now: float, lag: float) -> None:
        """The loop turns; `lag`: how late it came to say so."""
        self._times[LOOP_BEAT_AT] = now
        self.observe(Histogram.LOOP_LAG, lag)

    def stalled(self, occupant: Occupant | None, note: str) -> None:
        """What the loop stands still in, and for which request. From the heartbeat's thread."""
        self._request(STALLED, occupant)
        data = note.encode("utf-8", "replace")[: NOTE_SIZE - 1]
        self._bytes[NOTE : NOTE + len(data) + 1] = data + b"\0"

    def silent(self) -> None:
        """No more beats: whoever reads must not take that for a hang."""
        self._times[THREAD_BEAT_AT] = self._times[LOOP_BEAT_AT] = 0.0
        self.stalled(None, "")

    # requests

    def begin(self, now: float, method: str, path: bytes, request_id: str, client: bytes) -> None:
        """The application is about to be called: from now on this request occupies the process."""
        name = _METHODS.get(method) or method.encode()
        _pack_into(self._bytes, CURRENT, now, name, path, request_id.encode(), client)

    def paused(self) -> None:
        """The call waits, or is over: it occupies the process no more."""
        self._times[CURRENT_AT] = 0.0

    def oldest(self, occupant: Occupant | None) -> None:
        """The request that waits for longest."""
        self._request(OLDEST, occupant)

    def stuck(self, occupant: Occupant | None) -> None:
        """A request whose call was cancelled, and has not ended --hang-grace later."""
        self._request(STUCK, occupant)

    def _request(self, at: int, occupant: Occupant | None) -> None:
        since, method, path, request_id, client = occupant or NO_REQUEST
        _pack_into(self._bytes, at, since, method.encode(), path, request_id.encode(), client)

    def responded(self, status: int, seconds: float) -> None:
        """A response is complete, or never will be. `status`: 0 when it never was begun."""
        kind = status // 100
        units = seconds * _SCALE
        bucket = int(units).bit_length() if units < _MOST else _LAST  # bucket_of(), once per request
        self._ints[DURATION_AT + kind * BUCKETS + bucket] += 1
        self._times[DURATION_SUMS_AT + kind] += seconds

    # everything else

    def gauge(self, gauge: Gauge, value: int) -> None:
        self._ints[GAUGES_AT + gauge] = value

    def count(self, count: Count, amount: int = 1) -> None:
        self._ints[COUNTS_AT + count] += amount

    def put(self, count: Count, amount: int) -> None:
        """What somebody else counts."""
        self._ints[COUNTS_AT + count] = amount

    def transferred(self, received: int, sent: int) -> None:
        """Bytes that went over a connection since it was told last."""
        self._ints[_BYTES_IN_AT] += received
        self._ints[_BYTES_OUT_AT] += sent

    def observe(self, histogram: Histogram, seconds: float) -> None:
        self._ints[HISTOGRAMS_AT + histogram * BUCKETS + bucket_of(seconds)] += 1
        self._times[HISTOGRAM_SUMS_AT + histogram] += seconds


class EndCounts(MutableMapping[EndReason, int]):
    """A counter per reason, on the board."""

    __slots__ = ("_at", "_ints")

    def __init__(self, ints: "memoryview[int]", at: dict[EndReason, int]) -> None:
        self._ints = ints
        self._at = at

    def __getitem__(self, reason: EndReason) -> int:
        return self._ints[self._at[reason]]

    def add(self, reason: EndReason) -> None:
        """One more."""
        self._ints[self._at[reason]] += 1

    def __setitem__(self, reason: EndReason, count: int) -> None:
        self._ints[self._at[reason]] = count

    def __delitem__(self, reason: EndReason) -> None:
        raise TypeError("a counter stays")

    def __iter__(self) -> Iterator[EndReason]:
        """Of what has happened at all."""
        return (reason for reason, at in self._at.items() if self._ints[at])

    def __len__(self) -> int:
        return sum(1 for _ in self)


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


def read_board(fd: int) -> Snapshot | None:
    """What stands there; None when its process has not begun to write, or its code is of another version. A number
    that no process of ours can have written (NaN, say, by a stray pointer of some C code) reads as 0."""
    data = os.pread(fd, SIZE, 0)
    if len(data) < SIZE:
        return None
    view = memoryview(data)
    ints, times = view.cast("q"), view.cast("d")
    if ints[LAYOUT_AT] != LAYOUT:
        return None
    note = data[NOTE : NOTE + NOTE_SIZE]
    return Snapshot(
        pid=ints[PID_AT],
        thread_beat=_seconds(times[THREAD_BEAT_AT]),
        loop_beat=_seconds(times[LOOP_BEAT_AT]),
        current=_request(data, CURRENT),
        stalled=_request(data, STALLED),
        oldest=_request(data, OLDEST),
        stuck=_request(data, STUCK),
        note=note[: max(0, note.find(b"\0"))].decode("utf-8", "replace"),
        gauges=tuple(map(_count, ints[GAUGES_AT : GAUGES_AT + len(Gauge)])),
        totals=Totals(
            tuple(map(_count, ints[TOTALS_AT:SUMS_AT])), tuple(map(_seconds, times[SUMS_AT:TOTALS_END]))
        ),
    )


def _count(number: int) -> int:
    return number if 0 <= number <= MOST else 0


def _seconds(number: float) -> float:
    return number if 0.0 <= number <= MOST else 0.0  # false for NaN


def _request(data: bytes, at: int) -> BoardRequest | None:
    since, *texts = _REQUEST.unpack_from(data, at)
    if not _seconds(since):
        return None
    return BoardRequest(since, *(text.rstrip(b"\0").decode("utf-8", "replace") for text in texts))
