"""What a process is doing, in shared memory that the supervisor reads directly.

One anonymous file per worker and pool: the process maps it and is its only writer, the supervisor reads it whole. Words
are written atomically, so there is no lock. Promises: an update never blocks and costs well under a microsecond; each
total that is read was correct a moment ago; the totals of a process survive its death, because the supervisor adds them
to those of its slot. Must not depend on the roles of writer or reader.

A text (of the running request) may be read half-written. It matters only for a request that runs for long, and its text
no longer changes.
"""

import mmap
import os
from collections.abc import Iterator, MutableMapping
from typing import Final

from hsrv.board.layout import (
    BUCKETS,
    COUNTS_AT,
    CURRENT,
    CURRENT_AT,
    DURATION_AT,
    DURATION_SUMS_AT,
    ENDS_AT,
    GAUGES_AT,
    HISTOGRAM_SUMS_AT,
    HISTOGRAMS_AT,
    LAST_BUCKET,
    LAST_BUCKET_FROM,
    LAYOUT,
    LAYOUT_AT,
    LOOP_BEAT_AT,
    MOST,
    NO_REQUEST,
    NOTE,
    NOTE_SIZE,
    OLDEST,
    PID_AT,
    REQUEST,
    SCALE,
    SIZE,
    STALLED,
    STREAM_ENDS_AT,
    STUCK,
    SUMS_AT,
    THREAD_BEAT_AT,
    TOTALS_AT,
    TOTALS_END,
    Count,
    Gauge,
    Histogram,
    Occupant,
)
from hsrv.board.snapshot import BoardRequest, Snapshot, Totals
from hsrv.common.terms import EndReason
from hsrv.ipc.anonfile import anonymous_file

_pack_into: Final = REQUEST.pack_into
_METHODS: Final = {
    name: name.encode() for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}


_BYTES_IN_AT: Final = COUNTS_AT + Count.BYTES_IN
_BYTES_OUT_AT: Final = COUNTS_AT + Count.BYTES_OUT

_END_AT: Final = {reason: ENDS_AT + n for n, reason in enumerate(EndReason)}
_STREAM_END_AT: Final = {reason: STREAM_ENDS_AT + n for n, reason in enumerate(EndReason)}


def new_board() -> int:
    """The descriptor of an empty scoreboard, close-on-exec. Raises OSError."""
    fd = anonymous_file("hsrv-scoreboard")
    os.ftruncate(fd, SIZE)
    return fd


def bucket_of(seconds: float) -> int:
    """The bucket of a histogram."""
    units = seconds * SCALE
    return int(units).bit_length() if units < LAST_BUCKET_FROM else LAST_BUCKET


class Scoreboard:
    """The writer. One per process, used by its event loop; the heartbeat thread writes separate words."""

    __slots__ = ("_bytes", "_ints", "_times", "ended", "stream_ended")

    def __init__(self, fd: int | None = None) -> None:
        """`fd`: of `new_board()`, still owned by the caller; None: a scoreboard without a reader."""
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
        """Heartbeat of the loop; `lag`: its delay."""
        self._times[LOOP_BEAT_AT] = now
        self.observe(Histogram.LOOP_LAG, lag)

    def stalled(self, occupant: Occupant | None, note: str) -> None:
        """Record where the loop is blocked, and for which request. Called from the heartbeat thread."""
        self._request(STALLED, occupant)
        data = note.encode("utf-8", "replace")[: NOTE_SIZE - 1]
        self._bytes[NOTE : NOTE + len(data) + 1] = data + b"\0"

    def silent(self) -> None:
        """Record that heartbeats have ended, so that the reader doesn't see a hang."""
        self._times[THREAD_BEAT_AT] = self._times[LOOP_BEAT_AT] = 0.0
        self.stalled(None, "")

    # requests

    def begin(self, now: float, method: str, path: bytes, request_id: str, client: bytes) -> None:
        """The application is about to be called: this request occupies the process from now on."""
        name = _METHODS.get(method) or method.encode()
        _pack_into(self._bytes, CURRENT, now, name, path, request_id.encode(), client)

    def paused(self) -> None:
        """The call waits or has ended: it no longer occupies the process."""
        self._times[CURRENT_AT] = 0.0

    def oldest(self, occupant: Occupant | None) -> None:
        """Record the request that has been waiting longest."""
        self._request(OLDEST, occupant)

    def stuck(self, occupant: Occupant | None) -> None:
        """Record a request whose call was cancelled and has not ended --hang-grace later."""
        self._request(STUCK, occupant)

    def _request(self, at: int, occupant: Occupant | None) -> None:
        since, method, path, request_id, client = occupant or NO_REQUEST
        _pack_into(self._bytes, at, since, method.encode(), path, request_id.encode(), client)

    def responded(self, status: int, seconds: float) -> None:
        """A response has ended, complete or not. `status`: 0 if it was never begun."""
        kind = status // 100
        units = seconds * SCALE
        bucket = (
            int(units).bit_length() if units < LAST_BUCKET_FROM else LAST_BUCKET
        )  # bucket_of() inlined: once per request
        self._ints[DURATION_AT + kind * BUCKETS + bucket] += 1
        self._times[DURATION_SUMS_AT + kind] += seconds

    # everything else

    def gauge(self, gauge: Gauge, value: int) -> None:
        self._ints[GAUGES_AT + gauge] = value

    def count(self, count: Count, amount: int = 1) -> None:
        self._ints[COUNTS_AT + count] += amount

    def counted(self, count: Count) -> int:
        """What was counted so far."""
        return self._ints[COUNTS_AT + count]

    def transferred(self, received: int, sent: int) -> None:
        """Add bytes transferred on a connection since its last report."""
        self._ints[_BYTES_IN_AT] += received
        self._ints[_BYTES_OUT_AT] += sent

    def observe(self, histogram: Histogram, seconds: float) -> None:
        self._ints[HISTOGRAMS_AT + histogram * BUCKETS + bucket_of(seconds)] += 1
        self._times[HISTOGRAM_SUMS_AT + histogram] += seconds


class EndCounts(MutableMapping[EndReason, int]):
    """A counter per reason, on the scoreboard."""

    __slots__ = ("_at", "_ints")

    def __init__(self, ints: "memoryview[int]", at: dict[EndReason, int]) -> None:
        self._ints = ints
        self._at = at

    def __getitem__(self, reason: EndReason) -> int:
        return self._ints[self._at[reason]]

    def add(self, reason: EndReason) -> None:
        """Add one."""
        self._ints[self._at[reason]] += 1

    def __setitem__(self, reason: EndReason, count: int) -> None:
        self._ints[self._at[reason]] = count

    def __delitem__(self, reason: EndReason) -> None:
        raise TypeError("a counter can't be deleted")

    def __iter__(self) -> Iterator[EndReason]:
        """Reasons with a count above 0."""
        return (reason for reason, at in self._at.items() if self._ints[at])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def read_board(fd: int) -> Snapshot | None:
    """Its content; None when its process has not begun to write, or runs another version. A number that hsrv can't have
    written (NaN, say, from a stray pointer in C code) reads as 0."""
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
    since, *texts = REQUEST.unpack_from(data, at)
    if not _seconds(since):
        return None
    return BoardRequest(since, *(text.rstrip(b"\0").decode("utf-8", "replace") for text in texts))
