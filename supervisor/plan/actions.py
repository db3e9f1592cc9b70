"""The actions that `Plan` can decide on, each with the operation that it belongs to. Pure data.

Structs, because creating a dataclass for each would take 5 ms of every start.
"""

from collections.abc import Iterable, Iterator

import msgspec

from hsrv.common.errors import ExitCode
from hsrv.common.terms import DeathReason, Identity, Preload
from hsrv.ipc.messages import Failure


class Action(msgspec.Struct, frozen=True, kw_only=True):
    operation: str = ""
    """The id of the reload, upgrade or replacement that it belongs to; "" if none."""


class Report(Action, frozen=True):
    """Only a report: nothing is done."""


class ChildAction(Action, frozen=True):
    identity: Identity


class SpawnTemplate(Action, frozen=True):
    generation: int
    preload: Preload


class QuitTemplate(Action, frozen=True):
    """The generation is gone: its template and its handoff channel are no longer needed. Handoffs that wait in the
    channel go to the generation that serves."""

    generation: int
    template_stays: bool = False
    """Development: the next generation uses it."""


class MoveHandoffs(Action, frozen=True):
    """The generation drains and has no pool any more: its waiting handoffs go to the generation that serves."""

    generation: int


class KillTemplate(Action, frozen=True):
    generation: int
    why: str


class ForkChild(Action, frozen=True):
    """The template forks it."""

    identity: Identity
    broken: Failure | None = None
    """Development: why the application can't be loaded; the process serves a page that says so."""
    waits: bool = False
    """It waits for `BeginStartup` before its lifespan startup."""


class BeginStartup(ChildAction, frozen=True):
    """Tell a process that waits for it that the leader's lifespan startup is complete."""


class Serve(ChildAction, frozen=True):
    """It begins to accept or receive."""


class AnnounceClose(ChildAction, frozen=True):
    """It sends `Connection: close` in its responses."""


class Drain(ChildAction, frozen=True):
    adopt: bool
    """Whether another process takes over its idle connections."""
    graceful: float
    """Seconds for requests."""
    stream_grace: float
    """Seconds for streams."""


class Finish(ChildAction, frozen=True):
    """To a pool: no more handoffs will come."""


class Dismiss(ChildAction, frozen=True):
    """Tell a process that doesn't serve yet to exit, after its lifespan shutdown."""


class Kill(ChildAction, frozen=True):
    reason: DeathReason
    why: str


class PoolAvailable(Action, frozen=True):
    generation: int
    available: bool


class StopListening(Action, frozen=True):
    """Accept no new connections."""


class Exit(Action, frozen=True):
    code: ExitCode


# reports


class Announce(Report, frozen=True):
    """The generation serves."""

    generation: int


class Recycled(Report, frozen=True):
    """A worker is being replaced for a reason of its own: requests, age, memory, hung, ..."""

    reason: str


class OperationStep(Report, frozen=True):
    """A step of the operation."""

    step: str


class OperationEnded(Report, frozen=True):
    error: str = ""
    """Why it failed; "" if it succeeded."""
    traceback: str = ""


class Line(Report, frozen=True):
    """A log line, also for the timeline."""

    level: str
    event: str
    details: dict[str, object] = msgspec.field(default_factory=dict)


class LogLine(Line, frozen=True):
    """A log line without further consequences."""


class StartFailed(LogLine, frozen=True):
    """The server ends, because its application can't be started."""


class Stopping(Line, frozen=True):
    """The server has been told to stop."""


class ProcessGone(Line, frozen=True):
    """A process has ended."""

    pid: int = 0
    """0: it was never forked."""
    reason: str = ""
    expected: bool = False
    """It was told to end."""


Actions = tuple[Action, ...]
"""The actions for an event, in order."""

Steps = Iterator[Action]
"""The same as an iterator: each action is created after the one before it was taken."""


def part_of(operation: str, steps: Iterable[Action]) -> Steps:
    """The actions with this operation, except those that already have one."""
    for action in steps:
        own = action.operation or not operation
        yield action if own else msgspec.structs.replace(action, operation=operation)


def step(operation: str, text: str) -> Steps:
    """A step of the operation, if there is one."""
    if operation:
        yield OperationStep(text, operation=operation)


def ended(operation: str, error: str = "", traceback: str = "") -> Steps:
    """The end of the operation, if there is one."""
    if operation:
        yield OperationEnded(error, traceback, operation=operation)
