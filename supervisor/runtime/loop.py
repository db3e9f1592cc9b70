"""The supervisor's loop: an event comes, the plan decides, its actions are performed.

Owns the plan: whoever has an event for it calls a method of it and gives the loop what that returns. Promises: no event
waits for another's action; actions are performed in the order in which they were decided, what an action leads to after
all that was decided before; a line of the log, and a command, carry the operation of the action that they are of.
Knows no process and no socket: `Hands` does, and the time is passed in, so that it runs in memory as well.
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
from hsrv.supervisor.plan.actions import Action, Actions, Exit, ForPeople
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.runtime.inoperation import in_operation

log = get_logger("hsrv.supervisor")


class Hands(ABC):
    """What performs the plan's actions."""

    @abstractmethod
    def perform(self, action: Action) -> None:
        """Returns at once; what comes of it is an event. May give the loop further events."""


class Loop:
    """Of one server."""

    hands: Hands
    """Set before the first event."""
    tasks: TaskGroup
    """Set before the first event: what takes longer runs there."""

    def __init__(
        self, plan: Plan, tell: Callable[[ForPeople], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        """`tell`: where people hear of what happens."""
        self.plan = plan
        self.tell = tell
        self.now = now
        self.changed = anyio.Event()
        """Set when something changes next."""
        self.on_change: Callable[[], None] = lambda: None
        """Called at the same moment."""
        self.exit: ExitCode | None = None
        """Everything is over."""
        self._todo: deque[Action] = deque()
        self._acting = False
        """`perform` is on the stack."""

    def perform(self, wanted: Actions) -> None:
        """Act in order. What an action leads to comes after what was decided before."""
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
        """Something may be due now, or look different."""
        self.on_change()
        self.changed.set()

    def _try(self, action: Action) -> None:
        try:
            with in_operation(action.operation):
                self._act(action)
        except Exception:  # a defect of ours; a supervisor that acts no more would be the worse one
            log.exception("action failed", action=type(action).__name__)

    def _act(self, action: Action) -> None:
        if isinstance(action, ForPeople):
            self.tell(action)
        elif isinstance(action, Exit):
            self.exit = action.code
        else:
            self.hands.perform(action)

    async def run(self) -> ExitCode:
        """Call the plan when something is due, until it says that all is over."""
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
