"""What `Plan` can ask the supervisor to do. Pure data.

Structs: to make a dataclass of each would take 5 ms of every start.
"""

from collections.abc import Iterator

import msgspec

from hsrv.common.errors import ExitCode
from hsrv.common.terms import DeathReason, Identity, Preload


class SpawnTemplate(msgspec.Struct, frozen=True):
    generation: int
    preload: Preload


class QuitTemplate(msgspec.Struct, frozen=True):
    """The generation is gone: its template and its handoff channel are not needed any more. What still waits there
    goes to the generation that serves."""

    generation: int


class MoveHandoffs(msgspec.Struct, frozen=True):
    """The generation drains and has no pool any more: what waits for one goes to the generation that serves."""

    generation: int


class KillTemplate(msgspec.Struct, frozen=True):
    generation: int
    why: str


class ForkChild(msgspec.Struct, frozen=True):
    identity: Identity
    waits: bool = False
    """Before its lifespan startup, for `BeginStartup`."""


class BeginStartup(msgspec.Struct, frozen=True):
    """Tell a process that waits: the leader's lifespan startup is complete."""

    identity: Identity


class Serve(msgspec.Struct, frozen=True):
    identity: Identity


class AnnounceClose(msgspec.Struct, frozen=True):
    identity: Identity


class Drain(msgspec.Struct, frozen=True):
    identity: Identity
    adopt: bool
    """Whether somebody is there to take over its idle connections."""
    graceful: float
    """Seconds for requests."""
    stream_grace: float
    """Seconds for streams."""


class Finish(msgspec.Struct, frozen=True):
    identity: Identity


class Dismiss(msgspec.Struct, frozen=True):
    """Tell a process that serves nobody yet to go: it ends its lifespan and exits."""

    identity: Identity


class Kill(msgspec.Struct, frozen=True):
    identity: Identity
    reason: DeathReason
    why: str


class Recycled(msgspec.Struct, frozen=True):
    """A worker is being replaced for a reason of its own: requests, age, memory, hung, ..."""

    reason: str


class PoolAvailable(msgspec.Struct, frozen=True):
    generation: int
    available: bool


class StopListening(msgspec.Struct, frozen=True):
    """No new connections: what arrives from now on waits for nobody."""


class Announce(msgspec.Struct, frozen=True):
    """The generation serves: tell the people."""

    generation: int


class OperationStep(msgspec.Struct, frozen=True):
    """Something the operator asked for goes on. "" is nobody's."""

    operation: str
    step: str


class OperationEnded(msgspec.Struct, frozen=True):
    operation: str
    error: str = ""
    """Why it failed; "" when it didn't."""
    traceback: str = ""


class Say(msgspec.Struct, frozen=True):
    """A line for the log."""

    level: str
    event: str
    details: dict[str, object] = msgspec.field(default_factory=dict)


class Exit(msgspec.Struct, frozen=True):
    code: ExitCode


ForPeople = Say | OperationStep | OperationEnded | Recycled
ChildAction = BeginStartup | Serve | AnnounceClose | Drain | Finish | Dismiss | Kill
Action = (
    SpawnTemplate
    | QuitTemplate
    | MoveHandoffs
    | KillTemplate
    | ForkChild
    | ChildAction
    | PoolAvailable
    | StopListening
    | Announce
    | ForPeople
    | Exit
)
Actions = Iterator[Action]
