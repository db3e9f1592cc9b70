"""The dashboard's live feed: server-sent events, from one status per second for all viewers.

Promises: without a viewer no status is read; a slow viewer misses snapshots, never events, and uses no more memory than
the data being sent to it; a new one gets the history for its charts.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
import msgspec

from hsrv.rpc.operator import ServerStatus, TimelineEvent
from hsrv.status.rates import Meter
from hsrv.supervisor.admin.dashboard.document import document, point
from hsrv.supervisor.admin.http.route import Answer, Request, Stream

INTERVAL: Final = 1.0
"""Seconds between two snapshots."""

STALE: Final = 3.0
"""Seconds after which a snapshot is too old to be shown or to compute rates from: there was no viewer."""

HISTORY: Final = 120
"""Snapshots that are kept for the charts."""


@dataclass(frozen=True, slots=True)
class DashboardSnapshot:
    """One snapshot of the server."""

    number: int
    data: bytes
    """As an event."""
    events: Sequence[TimelineEvent]
    """The timeline at that time."""


class Feed:
    """The feed of one server."""

    def __init__(self, read: Callable[[], Awaitable[ServerStatus]], *, writable: bool) -> None:
        """`writable`: whether the page may offer to change things."""
        self._read = read
        self._writable = writable
        self._meter = Meter()
        self._history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self._last: DashboardSnapshot | None = None
        self._looked_at = -STALE
        self._turn = anyio.Lock()
        """Held by the viewer that reads the status for all."""

    async def events(self, request: Request) -> Answer:
        """GET /events."""
        return Stream(self.watch(), "text/event-stream")

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """For one viewer: `hello` once, then `look` each second and `events` when there are any."""
        look = await self._newer_than(self._stale_number())
        yield sse("hello", {"writable": self._writable, "history": list(self._history)})
        told = 0
        while True:
            news = [event for event in look.events if event.number > told]
            told = news[-1].number if news else told
            yield look.data + (sse("events", news) if news else b"")
            look = await self._newer_than(look.number)

    def _stale_number(self) -> int:
        """The number of the last snapshot if that is too old to be shown; else 0."""
        if self._last is None or anyio.current_time() - self._looked_at < STALE:
            return 0
        return self._last.number

    async def _newer_than(self, number: int) -> DashboardSnapshot:
        """The first viewer that needs a new one reads the status, the others wait for it. If it disconnects meanwhile,
        the next one does."""
        while self._last is None or self._last.number <= number:
            async with self._turn:
                if self._last is None or self._last.number <= number:
                    await self._look()
        return self._last

    async def _look(self) -> None:
        silence = anyio.current_time() - self._looked_at
        if silence >= STALE:
            self._meter = Meter()
        await anyio.sleep(max(0.0, INTERVAL - silence))
        self._looked_at = anyio.current_time()
        status = await self._read()
        shown = document(status, self._meter.feed(status))
        self._history.append(point(shown))
        number = self._last.number + 1 if self._last is not None else 1
        self._last = DashboardSnapshot(number, sse("look", shown), status.events)


def sse(event: str, data: Any) -> bytes:
    """One event; the JSON contains no line ends."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(data))
