"""What `Plan` can ask the supervisor to do. Pure data."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hsrv.errors import ExitCode
from hsrv.terms import DeathReason, Identity, Preload


@dataclass(frozen=True)
class SpawnTemplate:
    generation: int
    preload: Preload


@dataclass(frozen=True)
class QuitTemplate:
    """The generation is gone: its template and its handoff channel are not needed any more. What still waits there
    goes to the generation that serves."""

    generation: int


@dataclass(frozen=True)
class MoveHandoffs:
    """The generation drains and has no pool any more: what waits for one goes to the generation that serves."""

    generation: int


@dataclass(frozen=True)
class KillTemplate:
    generation: int
    why: str


@dataclass(frozen=True)
class ForkChild:
    identity: Identity


@dataclass(frozen=True)
class Serve:
    identity: Identity


@dataclass(frozen=True)
class AnnounceClose:
    identity: Identity


@dataclass(frozen=True)
class Drain:
    identity: Identity
    adopt: bool
    """Whether somebody is there to take over its idle connections."""
    graceful: float
    """Seconds for requests."""
    stream_grace: float
    """Seconds for streams."""


@dataclass(frozen=True)
class Finish:
    identity: Identity


@dataclass(frozen=True)
class Dismiss:
    """Tell a process that serves nobody yet to go: it ends its lifespan and exits."""

    identity: Identity


@dataclass(frozen=True)
class Kill:
    identity: Identity
    reason: DeathReason
    why: str


@dataclass(frozen=True)
class Recycled:
    """A worker is being replaced for a reason of its own: requests, age, memory, hung, ..."""

    reason: str


@dataclass(frozen=True)
class PoolAvailable:
    generation: int
    available: bool


@dataclass(frozen=True)
class StopListening:
    """No new connections: what arrives from now on waits for nobody."""


@dataclass(frozen=True)
class Announce:
    """The generation serves: tell the people."""

    generation: int


@dataclass(frozen=True)
class OperationStep:
    """Something the operator asked for goes on. "" is nobody's."""

    operation: str
    step: str


@dataclass(frozen=True)
class OperationEnded:
    operation: str
    error: str = ""
    """Why it failed; "" when it didn't."""
    traceback: str = ""


@dataclass(frozen=True)
class Say:
    """A line for the log."""

    level: str
    event: str
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Exit:
    code: ExitCode


ForPeople = Say | OperationStep | OperationEnded | Recycled
ChildAction = Serve | AnnounceClose | Drain | Finish | Dismiss | Kill
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
