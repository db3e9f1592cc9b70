"""The dashboard's live feed: server-sent events, one look at the server per second for all viewers together.

Promises: without a viewer nobody is asked; a viewer that is slow misses looks, never events, and costs no more memory
than what is being sent to him; one that comes is told what the curves need to begin in the past.
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
"""Seconds between two looks."""

STALE: Final = 3.0
"""Seconds after which a look is no base for rates and nothing to show: nobody was watching."""

HISTORY: Final = 120
"""Looks that are kept for the curves."""


@dataclass(frozen=True, slots=True)
class DashboardSnapshot:
    """One look at the server."""

    number: int
    data: bytes
    """As an event."""
    events: Sequence[TimelineEvent]
    """The timeline, as it was then."""


class Feed:
    """Of one server."""

    def __init__(self, read: Callable[[], Awaitable[ServerStatus]], *, writable: bool) -> None:
        """`writable`: whether the page may offer to change things."""
        self._read = read
        self._writable = writable
        self._meter = Meter()
        self._history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self._last: DashboardSnapshot | None = None
        self._looked_at = -STALE
        self._turn = anyio.Lock()
        """Of the viewer that looks for all."""

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
        """Of the look that is too old to be shown; 0 when there is none."""
        if self._last is None or anyio.current_time() - self._looked_at < STALE:
            return 0
        return self._last.number

    async def _newer_than(self, number: int) -> DashboardSnapshot:
        """The first viewer that needs one looks, the others wait for him. If he leaves meanwhile, the next one does."""
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
    """JSON has no line ends of its own."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(data))
