"""The memory layout of a scoreboard. Pure.

Shared by writer and reader; a scoreboard has the layout of the process that writes it.
"""

import mmap
import struct
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

from hsrv.common.terms import EndReason

WORD: Final = 8

CLASSES: Final = ("cut", "1xx", "2xx", "3xx", "4xx", "5xx")
"""Classes of responses, by the first digit of the status. "cut": no response was begun."""

BUCKETS: Final = 24
"""Buckets of every histogram. The first counts values below FIRST_BOUND, each further one values below twice the
previous bound, the last one all others."""

FIRST_BOUND: Final = 0.0001
"""Seconds."""

MOST: Final = 1 << 53
"""Largest plausible number of seconds, events or bytes. A larger value is invalid, and sums of such values would not
fit the format of reports."""

SCALE: Final = 1 / FIRST_BOUND
LAST_BUCKET: Final = BUCKETS - 1
LAST_BUCKET_FROM: Final = float(1 << LAST_BUCKET - 1)
"""Values from here on, in units of FIRST_BOUND, belong to the last bucket."""


class Gauge(IntEnum):
    """Current values."""

    CONNECTIONS = 0
    IDLE = 1
    """Of the connections: between two requests."""
    WAITING = 2
    """Requests that wait for a place, or for room in the handoff or adopt channel."""
    IN_FLIGHT = 3
    """Application calls that wait for something, including streams. A call that runs is `Snapshot.current`."""
    STREAMS = 4
    """Of these: long-lived responses."""
    WEBSOCKETS = 5
    PARKED = 6
    """Idle connections in the parking lot."""


class Count(IntEnum):
    """Counters."""

    ACCEPTED = 0
    """New connections."""
    ADOPTED = 1
    """Idle connections from other processes."""
    HANDOFFS_SENT = 2
    HANDOFFS_REFUSED = 3
    """Requests for the pool that got 503."""
    HANDOFFS_RECEIVED = 4
    PARKED = 5
    """Connections between two requests sent to the parking lot."""
    UNDECODABLE = 6
    """Packets that were dropped."""
    STREAMS_OPENED = 7
    WEBSOCKETS_OPENED = 8
    STREAMS_IN_WORKER = 9
    """Streams that were not announced, and so ran in a worker."""
    SHED = 10
    """Requests answered with 503 because a queue or limit was full. Also counted as responses."""
    REFUSED = 11
    """Requests refused because of an error in the request. Also counted as responses."""
    APP_ERRORS = 12
    TIMED_OUT = 13
    """Requests that ran longer than --request-timeout and were cancelled."""
    BYTES_IN = 14
    BYTES_OUT = 15
    RESCUED = 16
    """Connections moved to other processes because the event loop was blocked."""
    HANDOFFS_RETURNED = 17
    """Requests that a pool read and passed on to a worker."""


class Histogram(IntEnum):
    """Histograms of seconds."""

    QUEUE_WAIT = 0
    """From a complete head to the application's call, of requests that had to wait, here or for another process."""
    LOOP_LAG = 1
    """Delay of a timer of the event loop."""
    STREAM = 2
    """Duration of a stream or WebSocket."""


# Offsets, in 8-byte words. Times are time.monotonic(), the same clock for all processes of one machine.
LAYOUT_AT: Final = 0
PID_AT: Final = 1
THREAD_BEAT_AT: Final = 2
LOOP_BEAT_AT: Final = 3
GAUGES_AT: Final = 8
TOTALS_AT: Final = GAUGES_AT + 16
"""Counters start here: integers up to SUMS_AT, then seconds."""
COUNTS_AT: Final = TOTALS_AT
ENDS_AT: Final = COUNTS_AT + len(Count)
STREAM_ENDS_AT: Final = ENDS_AT + len(EndReason)
DURATION_AT: Final = STREAM_ENDS_AT + len(EndReason)
HISTOGRAMS_AT: Final = DURATION_AT + len(CLASSES) * BUCKETS
SUMS_AT: Final = HISTOGRAMS_AT + len(Histogram) * BUCKETS
DURATION_SUMS_AT: Final = SUMS_AT
HISTOGRAM_SUMS_AT: Final = DURATION_SUMS_AT + len(CLASSES)
TOTALS_END: Final = HISTOGRAM_SUMS_AT + len(Histogram)

REQUEST: Final = struct.Struct("d16s256s64s64s")
"""Start time, method, path, request id, client: texts truncated and padded with NUL."""
CURRENT: Final = TOTALS_END * WORD
"""Byte offset of the request whose application call occupies the process in its first step."""
CURRENT_AT: Final = TOTALS_END
OLDEST: Final = CURRENT + REQUEST.size
"""Byte offset of the request that has been waiting longest, except streams."""
STALLED: Final = OLDEST + REQUEST.size
"""Byte offset of the request that blocks the loop, recorded by the heartbeat thread: calls that had waited before."""
STUCK: Final = STALLED + REQUEST.size
"""Byte offset of a request that was cancelled but keeps running."""
NOTE: Final = STUCK + REQUEST.size
"""Where the loop is blocked, for people: NUL-terminated."""
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
            REQUEST.format,
            NOTE,
        )
    ).encode()
)
"""Checksum of the layout. Generations of one server may run different code: a reader accepts only its own layout."""


class Occupant(NamedTuple):
    """A request as written to the scoreboard."""

    since: float
    """time.monotonic()"""
    method: str
    path: bytes
    request_id: str
    client: bytes


NO_REQUEST: Final = Occupant(0.0, "", b"", "", b"")

BOUNDS: Final = tuple(FIRST_BOUND * (1 << n) for n in range(LAST_BUCKET))
"""Upper bounds of all buckets except the last, in seconds."""

STALLED_AFTER: Final = 0.75
"""Seconds without a heartbeat of the loop after which the thread records what it is doing."""
