"""What stands on a scoreboard, and where. Pure.

Writer and reader have it in common; a board is of the layout of the process that made it.
"""

import mmap
import struct
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

from hsrv.common.terms import EndReason

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

SCALE: Final = 1 / FIRST_BOUND
LAST_BUCKET: Final = BUCKETS - 1
LAST_BUCKET_FROM: Final = float(1 << LAST_BUCKET - 1)
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

REQUEST: Final = struct.Struct("d16s256s64s64s")
"""Since when, method, path, request id, client: the texts cut, and filled up with NUL."""
CURRENT: Final = TOTALS_END * WORD
"""Byte offset of the request whose application call occupies the process, or did when the loop last stood still."""
CURRENT_AT: Final = TOTALS_END
OLDEST: Final = CURRENT + REQUEST.size
"""The same of the one that waits for longest, streams aside."""
STALLED: Final = OLDEST + REQUEST.size
"""The same of the one that the loop stands still in, as the heartbeat thread sees it: calls that had waited before."""
STUCK: Final = STALLED + REQUEST.size
"""The same of one that was cancelled and goes on all the same."""
NOTE: Final = STUCK + REQUEST.size
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
            REQUEST.format,
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


NO_REQUEST: Final = Occupant(0.0, "", b"", "", b"")

BOUNDS: Final = tuple(FIRST_BOUND * (1 << n) for n in range(LAST_BUCKET))
"""Upper bounds of all buckets but the last, in seconds."""

STALLED_AFTER: Final = 0.75
"""Seconds without a beat of the loop after which the thread looks what it is doing."""
