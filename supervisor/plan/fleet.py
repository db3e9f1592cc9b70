"""The plan's state of the processes. Pure data.

A generation is one version of the code: STARTING until all of its processes are ready, SERVING until the next
one is or the server stops, DRAINING until its processes are gone.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import Final

from hsrv.common.tables import Machine, Table
from hsrv.common.terms import DeathReason, Identity, Preload, Role
from hsrv.ipc.messages import Failure
from hsrv.options.stopbudget import KILL_MARGIN, STREAM_END, longest_stop
from hsrv.supervisor.plan.backoff import Backoff

Key = tuple[Role, int]
"""A slot."""

LEADER: Final[Key] = (Role.WORKER, 1)
"""The slot of the leader."""


class Gen(Enum):
    STARTING = auto()
    SERVING = auto()
    DRAINING = auto()
    GONE = auto()


class GenEvent(Enum):
    ALL_READY = auto()
    FAILED = auto()
    SUPERSEDED = auto()
    """By the next generation, or by a stop."""
    ALL_EXITED = auto()


GENERATION: Final[Table[Gen, GenEvent]] = {
    Gen.STARTING: {
        GenEvent.ALL_READY: Gen.SERVING,
        GenEvent.FAILED: Gen.DRAINING,
        GenEvent.SUPERSEDED: Gen.DRAINING,
    },
    Gen.SERVING: {GenEvent.SUPERSEDED: Gen.DRAINING},
    Gen.DRAINING: {GenEvent.ALL_EXITED: Gen.GONE},
    Gen.GONE: {},
}


class TemplateState(Enum):
    STARTING = auto()
    READY = auto()
    GONE = auto()
    """The next one is due at `Generation.template_at`."""


class ChildState(Enum):
    FORKING = auto()
    """The fork was requested; the template has not answered."""
    STARTING = auto()
    READY = auto()
    SERVING = auto()
    DRAINING = auto()
    DISMISSED = auto()
    """ServerReports to exit before it served."""
    KILLED = auto()


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Seconds."""

    startup: float
    graceful: float
    stream_grace: float
    lifespan_shutdown: float
    drain_delay: float
    handoff: float
    margin: float = KILL_MARGIN
    """Seconds after its budgets before a process is killed."""
    stream_end: float = STREAM_END
    """Seconds after the grace for a pool to end its streams."""

    def drain(self, role: Role) -> float:
        """How long a process of this role may take to drain."""
        longest = (
            self.graceful if role is Role.WORKER else max(self.graceful, self.stream_grace + self.stream_end)
        )
        return longest + self.dismissal()

    def stop(self) -> float:
        """Maximum time of the whole server from TERM to its exit, which a service manager must allow."""
        return longest_stop(
            drain_delay=self.drain_delay,
            graceful=self.graceful,
            stream_grace=self.stream_grace,
            lifespan_shutdown=self.lifespan_shutdown,
        )

    def dismissal(self) -> float:
        """How long a process that doesn't serve may take to exit."""
        return self.lifespan_shutdown + self.margin


@dataclass
class Child:
    identity: Identity
    state: ChildState
    deadline: float
    """When it is killed, unless its state changes."""
    why: str
    """The reason for that, in words."""
    reason: DeathReason = DeathReason.STARTUP_TIMEOUT
    waits: bool = False
    """Its lifespan startup begins when the leader's is complete. Until then the leader's deadline applies to it too:
    a late leader ends the generation."""

    finishing: bool = False
    """A pool: it was told that no more handoffs will come."""

    @property
    def key(self) -> Key:
        return self.identity.role, self.identity.slot

    def must_end_by(self, deadline: float, reason: DeathReason, why: str) -> None:
        self.deadline = deadline
        self.reason = reason
        self.why = why

    @property
    def is_expected_to_end(self) -> bool:
        return self.state in (ChildState.DRAINING, ChildState.DISMISSED)


@dataclass
class RecycleReason:
    """Why a process is to be replaced by one that serves first."""

    reason: str
    why: str
    """In words."""
    at: float
    """Not before this time: a replacement may have failed a moment ago."""


@dataclass
class Generation:
    number: int
    preload: Preload
    machine: Machine[Gen, GenEvent] = field(default_factory=lambda: Machine(GENERATION, Gen.STARTING))
    template: TemplateState = TemplateState.STARTING
    template_at: float = inf
    """STARTING: when it is killed. GONE: when the next one is started."""
    children: dict[Key, Child] = field(default_factory=dict)
    """At most one per slot, pools first."""
    leaving: list[Child] = field(default_factory=list)
    """Processes without a slot: they gave it up, or don't have it yet."""
    incoming: dict[Key, Child] = field(default_factory=dict)
    """Those of `leaving` that were started to take over a slot."""
    worn_out: dict[Key, RecycleReason] = field(default_factory=dict)
    """Slots whose process is to be replaced, in this order, one at a time. It applies to the process, not to the slot,
    and is removed with it."""
    replacing: dict[Key, str] = field(default_factory=dict)
    """The operation that has started a new process for the slot, until that serves or has failed."""
    operation: str = ""
    """The reload or upgrade that starts or drains it."""
    hurried: bool = False
    """Too many generations drain: its streams were ended early."""
    broken: Failure | None = None
    """Development: why the application can't be loaded; the generation serves a page that says so."""
    due: dict[Key, float] = field(default_factory=dict)
    """Slots without a process, and when one is forked."""
    backoffs: dict[Key | None, Backoff] = field(default_factory=dict)
    """Of the slots, and of the template (None)."""
    pool_lost_at: float | None = None
    pool_lost_told: bool = False

    @property
    def state(self) -> Gen:
        return self.machine.state

    def everyone(self) -> list[Child]:
        return [*self.children.values(), *self.leaving]

    def waits_for_leader(self, key: Key) -> bool:
        """Whether the lifespan startup of a process that is started now has to wait for the leader's."""
        leader = self.children.get(LEADER)
        ready = leader is not None and leader.state is ChildState.READY
        return self.state is Gen.STARTING and key != LEADER and not ready

    def is_complete(self) -> bool:
        """Whether all processes that it was started with are ready. Not those wanted now: a queued reload may have read
        another configuration."""
        ready = all(child.state is ChildState.READY for child in self.children.values())
        return bool(self.children) and ready and not self.due

    def backoff(self, key: Key | None) -> Backoff:
        return self.backoffs.setdefault(key, Backoff())

    def has(self, role: Role, *states: ChildState) -> bool:
        """Whether it has a process of this role, in one of the states if any are given."""
        return any(c.identity.role is role and (not states or c.state in states) for c in self.everyone())

    def retire(self, key: Key) -> Child | None:
        """Give up a slot; returns the process that held it."""
        self.due.pop(key, None)
        self.worn_out.pop(key, None)
        child = self.children.pop(key, None)
        if child is not None:
            self.leaving.append(child)
        return child

    def forget(self, child: Child) -> None:
        """It has ended."""
        if self.children.get(child.key) is child:
            del self.children[child.key]
            self.worn_out.pop(child.key, None)
        else:
            self.leaving.remove(child)
            if self.incoming.get(child.key) is child:
                del self.incoming[child.key]

    def to_recycle(self) -> dict[Key, RecycleReason]:
        """Slots to recycle, without those whose process is being killed."""
        serving = {key for key, child in self.children.items() if child.state is ChildState.SERVING}
        return {key: one for key, one in self.worn_out.items() if key in serving}

    def take_in(self, child: Child, operation: str = "") -> None:
        """Add a process that will take over a slot. `operation`: the one that has requested it."""
        self.leaving.append(child)
        self.incoming[child.key] = child
        if operation:
            self.replacing[child.key] = operation

    def replacement_of(self, child: Child) -> str:
        """The operation that waits for this process to serve; "" if none does."""
        awaited = self.incoming.get(child.key) or self.children.get(child.key)
        return self.replacing.get(child.key, "") if awaited is child else ""

    def give_slot(self, child: Child) -> None:
        """The slot of an incoming process is free: the process takes it."""
        del self.incoming[child.key]
        self.leaving.remove(child)
        self.children[child.key] = child

    def want_nothing(self) -> None:
        """Start no more processes."""
        self.due.clear()
        self.worn_out.clear()
        self.template_at = inf

    def pool_report_at(self) -> float:
        """When the pool was lost, if the workers have to be told."""
        return inf if self.pool_lost_at is None or self.pool_lost_told else self.pool_lost_at
