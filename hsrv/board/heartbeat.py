"""Heartbeats on the scoreboard: of a thread of the process, and of its event loop.

If the loop's heartbeat stops but the thread's continues, Python code or a blocking call blocks the loop; if the
thread's stops too, the GIL is held, or the process doesn't run at all. While the loop is blocked the thread records
where, because nothing else in the process can.
"""

import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Final, Self

from hsrv.board.layout import NO_REQUEST, STALLED_AFTER, Occupant
from hsrv.board.scoreboard import Scoreboard
from hsrv.logs.logging import get_logger
from hsrv.net.context import later
from hsrv.system.realthreads import RealThread, get_ident

INTERVAL: Final = 0.25
"""Seconds between two beats."""

STOP_TIMEOUT: Final = 1.0
"""Seconds for the thread to end. It is a daemon thread, so it can't delay the exit."""

_COROUTINE: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

log = get_logger("hsrv.heartbeat")


class Heartbeat:
    """Beats inside a `with` block. Used in the loop's thread."""

    def __init__(
        self,
        board: Scoreboard,
        loop: asyncio.AbstractEventLoop,
        occupant: Callable[[asyncio.Task[Any] | None], Occupant | None],
        on_stall: Callable[[], None],
    ) -> None:
        """`occupant`: the request that a task serves; with None, the one that runs on the loop's thread in no task.
        `on_stall`: called repeatedly while the loop is blocked. Both are called from the other thread."""
        self._board = board
        self._loop = loop
        self._occupant = occupant
        self._on_stall = on_stall
        self._thread_id = get_ident()
        self._due = 0.0
        self._beat_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._noted = False
        self._failed = False
        self._blocking: asyncio.Task[Any] | str | None = None
        """What blocked the loop at the thread's last check, and since when: a task, or a request that has none."""
        self._blocking_since = 0.0
        self._thread = RealThread(self._watch)

    def __enter__(self) -> Self:
        self._beat_at = time.monotonic()
        self._board.loop_beat(self._beat_at, 0.0)
        self._board.thread_beat(self._beat_at)
        self._schedule()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._thread.end(STOP_TIMEOUT)
        self._board.silent()

    def _schedule(self) -> None:
        self._due = time.monotonic() + INTERVAL
        self._timer = later(self._loop, INTERVAL, self._beat)

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self._board.loop_beat(self._beat_at, max(0.0, self._beat_at - self._due))
        self._schedule()

    # the other thread

    def _watch(self) -> None:
        while not self._thread.pause(INTERVAL):
            now = time.monotonic()
            self._board.thread_beat(now)
            if now - self._beat_at > STALLED_AFTER:
                self._on_stalled(now)
            elif self._noted:
                self._noted = False
                self._blocking = None
                self._board.stalled(None, "")

    def _on_stalled(self, now: float) -> None:
        """Record where the loop is blocked. No defect may end this thread: the process would count as hung."""
        try:
            self._note(now)
            self._on_stall()
        except Exception:
            if not self._failed:
                self._failed = True
                log.exception("heartbeat can't record where the event loop is blocked")

    def _note(self, now: float) -> None:
        """The loop may resume meanwhile, so the record may be late: it is only valid while there is no heartbeat.

        Records the start of the step, not of the request: a loop may be late because of many short steps of different
        tasks, and then none of them is the cause.
        """
        self._noted = True
        try:
            task = asyncio.current_task(self._loop)
            occupant = self._occupant(task)
        except RuntimeError:  # a set changed during iteration: the loop has resumed
            return
        blocking = occupant.request_id if task is None and occupant is not None else task
        if blocking != self._blocking:
            self._blocking, self._blocking_since = blocking, now
        frame = sys._current_frames().get(self._thread_id)
        step = (occupant or NO_REQUEST)._replace(since=self._blocking_since) if blocking is not None else None
        self._board.stalled(step, describe(task, frame) if frame is not None else "")


def describe(task: "asyncio.Task[Any] | None", frame: FrameType) -> str:
    """What runs in this frame, in one line: position, innermost coroutine and task."""
    where = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
    coroutine = next((one for one in _outwards(frame) if one.f_code.co_flags & _COROUTINE), None)
    parts = [f"in {where}"]
    if coroutine is not None and coroutine is not frame:
        code = coroutine.f_code
        parts.append(f"called by coroutine {code.co_qualname} ({code.co_filename}:{coroutine.f_lineno})")
    if task is not None:
        parts.append(f"task {task.get_name()}")
    return ", ".join(parts)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
