"""The application's lifespan in one process (ASGI Lifespan 2.0).

Owns the task that runs it, from before the first request to after the last. Promises: every outcome is one of a few,
each reported with the application's own message; every wait has a timeout; `shutdown` never raises into a drain.
"""

import asyncio
import traceback
from enum import Enum, auto
from pathlib import Path
from types import FrameType
from typing import Any, Final

from hsrv.common.asgi import LIFESPAN_SPEC_VERSION, Application, Message, Scope
from hsrv.common.errors import AppError, AppLoadError
from hsrv.common.tables import Machine, Table
from hsrv.common.terms import LifespanMode
from hsrv.logs.logging import get_logger
from hsrv.net.context import at_end, own_context

CANCEL_TIMEOUT: Final = 1.0
"""Seconds for the application's lifespan call to return after its last message or its cancellation."""

_STDLIB: Final = str(Path(asyncio.__file__).parent.parent)

log = get_logger("hsrv.lifespan")


class State(Enum):
    NEW = auto()
    CALLED = auto()
    """The application runs and has not asked for `lifespan.startup`."""
    STARTING = auto()
    STARTED = auto()
    UNSUPPORTED = auto()
    STOPPING = auto()
    OVER = auto()


class Event(Enum):
    SKIP = auto()
    CALL = auto()
    ASKED = auto()
    COMPLETE = auto()
    GAVE_UP = auto()
    """It ended before it received anything: it doesn't support lifespan."""
    STOP = auto()
    END = auto()


LIFESPAN: Final[Table[State, Event]] = {
    State.NEW: {Event.SKIP: State.UNSUPPORTED, Event.CALL: State.CALLED},
    State.CALLED: {
        Event.ASKED: State.STARTING,
        Event.COMPLETE: State.STARTED,
        Event.GAVE_UP: State.UNSUPPORTED,
        Event.END: State.OVER,
    },
    State.STARTING: {Event.COMPLETE: State.STARTED, Event.END: State.OVER},
    State.STARTED: {Event.STOP: State.STOPPING, Event.END: State.OVER},
    State.STOPPING: {Event.END: State.OVER},
    State.UNSUPPORTED: {},
    State.OVER: {},
}

SENDABLE: Final = {
    "lifespan.startup.complete": (State.CALLED, State.STARTING),
    "lifespan.startup.failed": (State.CALLED, State.STARTING),
    "lifespan.shutdown.complete": (State.STOPPING,),
    "lifespan.shutdown.failed": (State.STOPPING,),
}
"""The states in which the application may send each message."""


class LifespanManager:
    """Runs `startup` before the first request and `shutdown` after the last one."""

    def __init__(
        self,
        app: Application,
        mode: LifespanMode,
        *,
        startup_timeout: float,
        shutdown_timeout: float,
        extension: dict[str, Any],
    ) -> None:
        self._app = app
        self._mode = mode
        self._startup_timeout = startup_timeout
        self._shutdown_timeout = shutdown_timeout
        self._extension = extension
        self._machine = Machine(LIFESPAN, State.NEW)
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outcome: asyncio.Future[str | None] | None = None
        """Of the current phase: None for complete, or the message of `.failed`."""
        self.state: dict[str, Any] = {}
        """`scope["state"]` of the lifespan; requests get shallow copies."""

    async def startup(self) -> bool:
        """Run the startup. False: it is off, or not supported by the application. Raises AppLoadError."""
        if self._mode is LifespanMode.OFF:
            self._machine.move(Event.SKIP)
            return False
        self._machine.move(Event.CALL)
        self._task = task = asyncio.create_task(
            self._run(), name="lifespan", context=own_context(asyncio.get_running_loop()).copy()
        )
        at_end(task, self._on_end)
        outcome = await self._phase("lifespan.startup", task, self._startup_timeout)
        if outcome.done():
            return await self._answered(outcome.result(), task)
        if task.done():
            return self._ended_early(_error_of(task))
        where = _where(task)
        await self._end(task)
        raise AppLoadError(
            f"lifespan startup was not complete after {self._startup_timeout:g} s "
            f"(--lifespan-startup-timeout); it is waiting at {where}"
        )

    def cancel_startup(self) -> None:
        """Cancel the startup if it is not complete, because its result is no longer needed."""
        if self._task is not None and self._machine.state in (State.CALLED, State.STARTING):
            self._task.cancel()

    async def shutdown(self) -> None:
        """Run the shutdown, bounded by its timeout. Never raises; failures are logged."""
        task = self._task
        if self._machine.state is not State.STARTED or task is None:
            return
        self._machine.move(Event.STOP)
        outcome = await self._phase("lifespan.shutdown", task, self._shutdown_timeout)
        if outcome.done():
            await asyncio.wait([task], timeout=CANCEL_TIMEOUT)
            self._report_answer(outcome.result(), task)
        elif task.done():
            self._report_error(_error_of(task))
        else:
            log.error("lifespan shutdown timed out", timeout=self._shutdown_timeout, waiting_at=_where(task))
        await self._end(task)

    def _report_answer(self, failure: str | None, task: "asyncio.Task[None]") -> None:
        if failure is not None:
            log.error("lifespan shutdown failed", message=failure)
        elif task.done() and not task.cancelled():  # cancelled: by `_receive`, because it asked for more
            self._report_error(task.exception())

    def _report_error(self, error: BaseException | None) -> None:
        if error is not None:
            log.error("lifespan shutdown raised", exc_info=error)

    async def _phase(
        self, kind: str, task: "asyncio.Task[None]", timeout: float
    ) -> "asyncio.Future[str | None]":
        """Send `kind` to the application, and wait until it answers, returns or the timeout is over."""
        outcome = self._outcome = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait({"type": kind})
        either: list[asyncio.Future[Any]] = [task, outcome]
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return outcome

    async def _answered(self, failure: str | None, task: "asyncio.Task[None]") -> bool:
        if failure is None:
            return True
        await asyncio.wait([task], timeout=CANCEL_TIMEOUT)
        await self._end(task)
        first, *more = failure.strip().splitlines() or ["the application gave no reason"]
        if more:  # Starlette sends a whole traceback
            raise AppLoadError(f"lifespan startup failed: {_reason([first, *more])}", f"{failure.rstrip()}\n")
        raise AppLoadError(f"lifespan startup failed: {first}")

    def _ended_early(self, error: BaseException | None) -> bool:
        """The call ended without sending complete or failed. Before it received anything: it doesn't support lifespan
        (Django raises, others return). After that: it failed."""
        asked = self._machine.state is State.STARTING
        if not asked and self._mode is LifespanMode.AUTO:
            self._machine.move(Event.GAVE_UP)
            log.debug("lifespan unsupported", error=repr(error) if error else "the application returned")
            return False
        self._machine.move(Event.END)
        text = _their_traceback(error) if error is not None else ""
        if not asked:
            raise AppLoadError("the application doesn't support lifespan (--lifespan on)", text)
        if error is None:
            raise AppLoadError("the application's lifespan returned before startup was complete")
        raise AppLoadError(f"lifespan startup raised {type(error).__name__}: {error}", text)

    async def _end(self, task: "asyncio.Task[None]") -> None:
        """End the call: nothing more is expected of the application."""
        self._machine.move(Event.END)
        if task.done():
            return
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_TIMEOUT)
        if not task.done():
            log.error("lifespan ignores that it was cancelled", waiting_at=_where(task))

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        """Also marks the error as retrieved: the waiter of the task reports it."""
        error = _error_of(task)
        if self._machine.state is not State.STARTED:
            return
        self._machine.move(Event.END)
        if error is None:
            log.debug("lifespan returned before shutdown; there will be none")
        else:
            log.error("lifespan raised between startup and shutdown", exc_info=error)

    # the application's side

    async def _run(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": LIFESPAN_SPEC_VERSION},
            "state": self.state,
            "extensions": {"hsrv": self._extension},
        }
        try:
            await self._app(scope, self._receive, self._send)
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the process silently
            raise AppError(f"the application tried to exit: {error!r}") from error

    async def _receive(self) -> Message:
        if self._machine.state is State.CALLED:
            self._machine.move(Event.ASKED)
        elif self._machine.state in (State.STARTING, State.STOPPING) and self._has_answered():
            assert self._task is not None, "it is the caller"
            self._task.cancel()  # it asks for more, and nothing more will ever come
        return await self._inbox.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._machine.state not in SENDABLE.get(kind, ()) or self._has_answered():
            raise AppError(f"unexpected ASGI message {kind!r} from the application's lifespan")
        if kind == "lifespan.startup.complete":
            self._machine.move(Event.COMPLETE)
        assert self._outcome is not None, "made by _phase()"
        complete = kind.endswith(".complete")
        self._outcome.set_result(None if complete else str(message.get("message", "")))

    def _has_answered(self) -> bool:
        return self._outcome is not None and self._outcome.done()


def _error_of(task: "asyncio.Task[None]") -> BaseException | None:
    """Why a finished task failed. An application may also cancel itself."""
    return asyncio.CancelledError("cancelled") if task.cancelled() else task.exception()


def _their_traceback(error: BaseException) -> str:
    """The traceback from the application's first frame on: above it there is only hsrv's call."""
    if isinstance(error, AppError) and error.__cause__ is not None:
        error = error.__cause__
    ours = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, ours.tb_next if ours else None))


def _reason(lines: list[str]) -> str:
    """Type and message at the end of a traceback, without the type's module: the first line after the last frames,
    because a message may have several lines."""
    begin = max(
        (number for number, line in enumerate(lines) if line.startswith("Traceback (most ")), default=None
    )
    for line in lines[begin + 1 :] if begin is not None else ():
        if line[:1].strip():
            kind, colon, message = line.partition(":")
            return f"{kind.rpartition('.')[2]}{colon}{message}"
    return lines[-1]


def _where(task: "asyncio.Task[None]") -> str:
    """The innermost line of the application at which a task waits."""
    awaited: Any = task.get_coro()
    place = "its start"
    while awaited is not None:
        frame: FrameType | None = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and _is_theirs(frame.f_code.co_filename):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return place


def _is_theirs(filename: str) -> bool:
    return filename != __file__ and (not filename.startswith(_STDLIB) or "site-packages" in filename)
