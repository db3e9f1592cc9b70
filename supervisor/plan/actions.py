"""What `Plan` can ask the supervisor to do, each with the operation that it is part of. Pure data.

Structs: to make a dataclass of each would take 5 ms of every start.
"""

from collections.abc import Iterable, Iterator

import msgspec

from hsrv.common.errors import ExitCode
from hsrv.common.terms import DeathReason, Identity, Preload
from hsrv.ipc.messages import Failure


class Action(msgspec.Struct, frozen=True, kw_only=True):
    operation: str = ""
    """The id of the reload, upgrade or replacement that it is part of; "" when it is part of none."""


class ForPeople(Action, frozen=True):
    """Nothing is done: people are told."""


class ChildAction(Action, frozen=True):
    identity: Identity


class SpawnTemplate(Action, frozen=True):
    generation: int
    preload: Preload


class QuitTemplate(Action, frozen=True):
    """The generation is gone: its template and its handoff channel are not needed any more. What still waits there
    goes to the generation that serves."""

    generation: int
    template_stays: bool = False
    """Development: the next generation goes on with it."""


class MoveHandoffs(Action, frozen=True):
    """The generation drains and has no pool any more: what waits for one goes to the generation that serves."""

    generation: int


class KillTemplate(Action, frozen=True):
    generation: int
    why: str


class ForkChild(Action, frozen=True):
    """The template is to fork it."""

    identity: Identity
    broken: Failure | None = None
    """Development: why there is no application; it serves a page that says so."""
    waits: bool = False
    """Before its lifespan startup, for `BeginStartup`."""


class BeginStartup(ChildAction, frozen=True):
    """Tell a process that waits: the leader's lifespan startup is complete."""


class Serve(ChildAction, frozen=True):
    """It is to begin to accept or receive."""


class AnnounceClose(ChildAction, frozen=True):
    """Its responses are to say `Connection: close`."""


class Drain(ChildAction, frozen=True):
    adopt: bool
    """Whether somebody is there to take over its idle connections."""
    graceful: float
    """Seconds for requests."""
    stream_grace: float
    """Seconds for streams."""


class Finish(ChildAction, frozen=True):
    """A pool: no more handoffs will come."""


class Dismiss(ChildAction, frozen=True):
    """Tell a process that serves nobody yet to go: it ends its lifespan and exits."""


class Kill(ChildAction, frozen=True):
    reason: DeathReason
    why: str


class PoolAvailable(Action, frozen=True):
    generation: int
    available: bool


class StopListening(Action, frozen=True):
    """No new connections: what arrives from now on waits for nobody."""


class Exit(Action, frozen=True):
    code: ExitCode


# what people are told


class Announce(ForPeople, frozen=True):
    """The generation serves."""

    generation: int


class Recycled(ForPeople, frozen=True):
    """A worker is being replaced for a reason of its own: requests, age, memory, hung, ..."""

    reason: str


class OperationStep(ForPeople, frozen=True):
    """The operation goes on."""

    step: str


class OperationEnded(ForPeople, frozen=True):
    error: str = ""
    """Why it failed; "" when it didn't."""
    traceback: str = ""


class Line(ForPeople, frozen=True):
    """A line for the log, and for the timeline."""

    level: str
    event: str
    details: dict[str, object] = msgspec.field(default_factory=dict)


class LogLine(Line, frozen=True):
    """One of which nothing else follows."""


class Stopping(Line, frozen=True):
    """The server has been told to stop."""


class ProcessGone(Line, frozen=True):
    """A process has ended."""

    pid: int = 0
    """0: it never had one."""
    reason: str = ""
    expected: bool = False
    """It was to end."""


Actions = tuple[Action, ...]
"""What an event calls for, in order."""

Steps = Iterator[Action]
"""The same while it is being decided: each is made when the one before it has been taken."""


def part_of(operation: str, steps: Iterable[Action]) -> Steps:
    """All of these are part of the operation, but for those that are part of another one."""
    for action in steps:
        own = action.operation or not operation
        yield action if own else msgspec.structs.replace(action, operation=operation)


def step(operation: str, text: str) -> Steps:
    """The operation, if there is one, goes on."""
    if operation:
        yield OperationStep(text, operation=operation)


def ended(operation: str, error: str = "", traceback: str = "") -> Steps:
    """The operation, if there is one, is over."""
    if operation:
        yield OperationEnded(error, traceback, operation=operation)
