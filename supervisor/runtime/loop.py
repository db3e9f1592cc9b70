"""The supervisor's loop: passes events to the plan and performs its actions.

Owns the plan: for each event, a method of the plan is called and the loop gets the actions that it returns. Promises:
no event waits for an action of another; actions are performed in the order in which they were decided, and actions that
follow from them come after those; log lines and commands carry the operation of their action. Uses no process and no
socket itself: `Hands` does. The time is passed in, so it also runs in memory.
"""

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from hsrv.common.errors import ExitCode
from hsrv.logs.logging import get_logger
from hsrv.supervisor.plan.actions import Action, Actions, Exit, Report
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.runtime.inoperation import in_operation

log = get_logger("hsrv.supervisor")


class Hands(ABC):
    """Performs the plan's actions."""

    @abstractmethod
    def perform(self, action: Action) -> None:
        """Returns at once; results are events, which it may pass to the loop before it returns."""


class Loop:
    """The loop of one server."""

    hands: Hands
    """Set before the first event."""
    tasks: TaskGroup
    """Set before the first event: for work that takes time."""

    def __init__(
        self, plan: Plan, tell: Callable[[Report], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        """`tell`: gets the reports."""
        self.plan = plan
        self.tell = tell
        self.now = now
        self.changed = anyio.Event()
        """Set at the next change."""
        self.on_change: Callable[[], None] = lambda: None
        """Called at every change."""
        self.exit: ExitCode | None = None
        """Set when everything has ended."""
        self._todo: deque[Action] = deque()
        self._acting = False
        """`perform` is on the stack."""

    def perform(self, wanted: Actions) -> None:
        """Perform actions in order. Actions that follow from them come last."""
        self._todo += wanted
        if not self._acting:
            self._acting = True
            try:
                while self._todo:
                    self._try(self._todo.popleft())
            finally:
                self._acting = False
        self.wake()

    def wake(self) -> None:
        """Something has changed: there may be something due, or something else to display."""
        self.on_change()
        self.changed.set()

    def _try(self, action: Action) -> None:
        try:
            with in_operation(action.operation):
                self._act(action)
        except Exception:  # a defect of ours; without its loop the supervisor would be of no use
            log.exception("action failed", action=type(action).__name__)

    def _act(self, action: Action) -> None:
        if isinstance(action, Report):
            self.tell(action)
        elif isinstance(action, Exit):
            self.exit = action.code
        else:
            self.hands.perform(action)

    async def run(self) -> ExitCode:
        """Call the plan when something is due, until it says that everything has ended."""
        while self.exit is None:
            self.changed = anyio.Event()
            seconds = self.plan.next_at() - self.now()
            with anyio.move_on_after(None if seconds == math.inf else max(0.0, seconds)):
                await self.changed.wait()
            self.tick()
        return self.exit

    def tick(self) -> None:
        """Act on what is due."""
        self.perform(self.plan.tick(self.now()))
