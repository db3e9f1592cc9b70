"""The application's lifespan in one process (ASGI Lifespan 2.0).

Owns the task that runs it, from before the first request to after the last. Promises: every outcome is one
of a few, each told with the application's own words; no wait without a bound; `shutdown` never raises into a drain.
"""

import asyncio
import contextlib
import traceback
from enum import Enum, auto
from typing import Any, Final

from hsrv.asgi import LIFESPAN_SPEC_VERSION, Application, Message, Scope
from hsrv.errors import AppError, AppLoadError
from hsrv.logging import get_logger
from hsrv.tables import Machine, Table
from hsrv.terms import LifespanMode

CANCEL_TIMEOUT: Final = 1.0
"""Seconds for the application's lifespan call to end once it was cancelled."""

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
    """It ended before it asked for anything: it doesn't know lifespan."""
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
        self._stop_asked = asyncio.Event()
        self._outcome: asyncio.Future[str | None] | None = None
        """Of the phase that runs: None for complete, or the message of `.failed`."""
        self.state: dict[str, Any] = {}
        """`scope["state"]` of the lifespan; requests get shallow copies."""

    async def startup(self) -> bool:
        """Run the startup. False: the application doesn't support lifespan, or it is off. Raises AppLoadError."""
        if self._mode is LifespanMode.OFF:
            self._machine.move(Event.SKIP)
            return False
        self._machine.move(Event.CALL)
        self._outcome = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._run())
        await asyncio.wait(
            [self._task, self._outcome],
            timeout=self._startup_timeout,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._outcome.done():
            return await self._started(self._outcome.result())
        if self._task.done():
            return self._ended_early(self._task)
        await self._cancel()
        raise AppLoadError(
            f"lifespan startup was not complete after {self._startup_timeout:g} s (--lifespan-startup-timeout)"
        )

    async def _started(self, failure: str | None) -> bool:
        if failure is None:
            return True
        await self._cancel()
        raise AppLoadError(f"lifespan startup failed: {failure}" if failure else "lifespan startup failed")

    def _ended_early(self, task: "asyncio.Task[None]") -> bool:
        """The call ended before it said complete or failed. Before it asked for anything, that means it doesn't know
        lifespan (Django raises, others return); after that it means failure."""
        error = task.exception()
        if self._machine.state is State.CALLED and self._mode is LifespanMode.AUTO:
            self._machine.move(Event.GAVE_UP)
            log.debug("lifespan unsupported", error=repr(error) if error else "the application returned")
            return False
        asked = self._machine.state is State.STARTING
        self._machine.move(Event.END)
        if error is None:
            raise AppLoadError("the application's lifespan returned before startup was complete")
        text = "".join(traceback.format_exception(error))
        if not asked:
            raise AppLoadError("the application doesn't support lifespan (--lifespan on)", text)
        raise AppLoadError(f"lifespan startup raised {type(error).__name__}: {error}", text)

    async def shutdown(self) -> None:
        """Run the shutdown, bounded by its timeout. Never raises; what goes wrong is logged."""
        if self._machine.state is not State.STARTED or self._task is None:
            return
        self._outcome = asyncio.get_running_loop().create_future()
        self._machine.move(Event.STOP)
        self._stop_asked.set()
        done, _ = await asyncio.wait([self._task], timeout=self._shutdown_timeout)
        if not done:
            await self._cancel()
            log.error("lifespan shutdown timed out", timeout=self._shutdown_timeout)
        elif (error := self._task.exception()) is not None:
            log.error("lifespan shutdown raised", exc_info=error)
        elif self._outcome.done() and (failure := self._outcome.result()) is not None:
            log.error("lifespan shutdown failed", message=failure)
        self._machine.move(Event.END)

    async def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCEL_TIMEOUT)

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
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would take the process down without a word
            raise AppError(f"the application tried to exit: {error!r}") from error

    async def _receive(self) -> Message:
        if self._machine.state is State.CALLED:
            self._machine.move(Event.ASKED)
            return {"type": "lifespan.startup"}
        await self._stop_asked.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._machine.move(Event.COMPLETE)
            self._tell(None)
        elif kind == "lifespan.shutdown.complete":
            self._tell(None)
        elif kind in ("lifespan.startup.failed", "lifespan.shutdown.failed"):
            self._tell(str(message.get("message", "")))
        else:
            raise AppError(f"unexpected ASGI message type {kind!r}")

    def _tell(self, outcome: str | None) -> None:
        if self._outcome is not None:
            with contextlib.suppress(asyncio.InvalidStateError):  # said twice
                self._outcome.set_result(outcome)
