"""What the supervisor does next. Pure: events in, actions out, time as `now`.

Owns the picture of every process: which should be there, which is, and in which state. Each method takes one event
and returns the actions it calls for, in order; nothing here waits, sends or signals.

A generation is one version of the code: STARTING until all of its processes are ready, SERVING until the next one is
or the server stops, DRAINING until its processes are gone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from hsrv.errors import ExitCode
from hsrv.supervisor.backoff import Backoff
from hsrv.tables import Machine, Table
from hsrv.terms import Identity, Preload, Role

KILL_MARGIN: Final = 3.0
"""Seconds beyond its budgets that a draining process has before it is killed."""

STREAM_END_MARGIN: Final = 5.0
"""Seconds beyond the grace that a pool has to end its streams."""

Key = tuple[Role, int]
"""A slot."""


class Gen(Enum):
    STARTING = auto()
    SERVING = auto()
    DRAINING = auto()
    GONE = auto()


class GenEvent(Enum):
    ALL_READY = auto()
    FAILED = auto()
    SUPERSEDED = auto()
    ALL_EXITED = auto()


GENERATION: Final[Table[Gen, GenEvent]] = {
    Gen.STARTING: {GenEvent.ALL_READY: Gen.SERVING, GenEvent.FAILED: Gen.DRAINING, GenEvent.SUPERSEDED: Gen.DRAINING},
    Gen.SERVING: {GenEvent.SUPERSEDED: Gen.DRAINING},
    Gen.DRAINING: {GenEvent.ALL_EXITED: Gen.GONE},
    Gen.GONE: {},
}


class ChildState(Enum):
    FORKING = auto()
    """Asked for; the template has not answered."""
    STARTING = auto()
    READY = auto()
    SERVING = auto()
    DRAINING = auto()


class Phase(Enum):
    """Of the whole server."""

    RUNNING = auto()
    DELAYING = auto()
    """Told to stop, still accepting (--drain-delay)."""
    STOPPING = auto()
    OVER = auto()


# actions


@dataclass(frozen=True)
class SpawnTemplate:
    generation: int
    preload: Preload


@dataclass(frozen=True)
class QuitTemplate:
    generation: int


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
    why: str


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
class Say:
    """A line for the log."""

    level: str
    event: str
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Exit:
    code: ExitCode


Action = (
    SpawnTemplate
    | QuitTemplate
    | ForkChild
    | Serve
    | AnnounceClose
    | Drain
    | Finish
    | Dismiss
    | Kill
    | PoolAvailable
    | StopListening
    | Announce
    | Say
    | Exit
)
Actions = Iterator[Action]


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Seconds."""

    startup: float
    graceful: float
    stream_grace: float
    lifespan_shutdown: float
    drain_delay: float
    handoff: float

    def kill_after(self, role: Role) -> float:
        """How long a process of this role may take to drain."""
        longest = self.graceful if role is Role.WORKER else max(self.graceful, self.stream_grace + STREAM_END_MARGIN)
        return longest + self.lifespan_shutdown + KILL_MARGIN


@dataclass
class Child:
    identity: Identity
    state: ChildState
    deadline: float
    """When it is killed, unless it moves on."""

    @property
    def key(self) -> Key:
        return self.identity.role, self.identity.slot


@dataclass
class Generation:
    number: int
    machine: Machine[Gen, GenEvent]
    preload: Preload
    template_ready: bool = False
    children: dict[Key, Child] = field(default_factory=dict)
    """At most one live child per slot; a draining one that was replaced moves to `leaving`."""
    leaving: list[Child] = field(default_factory=list)
    due: dict[Key, float] = field(default_factory=dict)
    """Slots without a child, and when they get one."""
    template_due: float | None = None
    backoffs: dict[object, Backoff] = field(default_factory=dict)
    pool_lost_at: float | None = None
    pool_lost_told: bool = False

    @property
    def state(self) -> Gen:
        return self.machine.state

    def everyone(self) -> list[Child]:
        return [*self.children.values(), *self.leaving]

    def backoff(self, key: object) -> Backoff:
        return self.backoffs.setdefault(key, Backoff())


class Plan:
    """The fleet: every generation and the phase of the server."""

    def __init__(self, budgets: Budgets, *, workers: int, pools: int, preload: Preload) -> None:
        self.budgets = budgets
        self.workers = workers
        self.pools = pools
        self.preload = preload
        self.phase = Phase.RUNNING
        self.generations: dict[int, Generation] = {}
        self.exit_code = ExitCode.OK
        self._delay_end = 0.0
        self._last_number = 0

    # picture

    def serving(self) -> Generation | None:
        """The generation that serves."""
        return next((g for g in self.generations.values() if g.state is Gen.SERVING), None)

    def _starting(self) -> Generation | None:
        return next((g for g in self.generations.values() if g.state is Gen.STARTING), None)

    def _wanted(self) -> list[Key]:
        """Pools first: they are ready to receive before any worker hands over."""
        return [(Role.POOL, n + 1) for n in range(self.pools)] + [(Role.WORKER, n + 1) for n in range(self.workers)]

    def find(self, identity: Identity) -> Child | None:
        generation = self.generations.get(identity.generation)
        everyone = generation.everyone() if generation is not None else []
        return next((child for child in everyone if child.identity is identity), None)

    # start and reload

    def start(self) -> Actions:
        """Start the next generation: the first one, or a reload."""
        if self.phase is not Phase.RUNNING:
            return
        if self._starting() is not None:
            yield Say("warning", "reload ignored", {"why": "a generation is starting already"})
            return
        self._last_number += 1
        number = self._last_number
        self.generations[number] = Generation(number, Machine(GENERATION, Gen.STARTING), self.preload)
        yield SpawnTemplate(number, self.preload)

    def template_ready(self, number: int, now: float) -> Actions:
        generation = self.generations[number]
        generation.template_ready = True
        if generation.state is Gen.STARTING and not generation.children:
            generation.due = dict.fromkeys(self._wanted(), now)
        yield from self._fork_due(generation, now)

    def template_unsafe(self, number: int, reason: str) -> Actions:
        """The import left threads or sockets behind: a fresh one imports nothing, its children import for themselves."""
        self.generations[number].preload = Preload.NONE
        yield Say("warning", "preload given up", {"why": reason, "instead": "each process imports for itself"})
        yield SpawnTemplate(number, Preload.NONE)

    def template_failed(self, number: int, message: str, traceback: str, now: float) -> Actions:
        generation = self.generations[number]
        if generation.state is Gen.STARTING:
            yield from self._fail(generation, message, traceback, now)
        else:
            yield Say("error", "template failed", {"error": message, "exception": traceback})

    def template_gone(self, number: int, reason: str, now: float) -> Actions:
        generation = self.generations.get(number)
        if generation is None:
            return
        generation.template_ready = False
        if self.phase is not Phase.RUNNING or generation.state in (Gen.DRAINING, Gen.GONE):
            return
        delay = generation.backoff("template").delay(now)
        yield Say("error", "template died", {"generation": number, "reason": reason, "delay": delay})
        generation.template_due = now + delay

    def _fork_due(self, generation: Generation, now: float) -> Actions:
        if not generation.template_ready:
            return
        for key in [key for key, at in generation.due.items() if at <= now]:
            del generation.due[key]
            role, slot = key
            identity = Identity(role, slot, generation.number, leader=key == (Role.WORKER, 1))
            generation.children[key] = Child(identity, ChildState.FORKING, now + self.budgets.startup)
            yield ForkChild(identity)

    # children

    def child_forked(self, identity: Identity, error: str, now: float) -> Actions:
        child = self.find(identity)
        if child is None or child.state is not ChildState.FORKING:
            return
        child.state = ChildState.STARTING
        if error:
            yield from self.child_exited(identity, f"could not be forked: {error}", now)

    def child_ready(self, identity: Identity, now: float) -> Actions:
        child = self.find(identity)
        if child is None or child.state not in (ChildState.FORKING, ChildState.STARTING):
            return
        child.state = ChildState.READY
        child.deadline = float("inf")
        generation = self.generations[identity.generation]
        if generation.state is Gen.SERVING:
            yield from self._let_serve(generation, child)
        elif generation.state is Gen.STARTING and self._complete(generation):
            yield from self._promote(generation, now)

    def _complete(self, generation: Generation) -> bool:
        return all(
            key in generation.children and generation.children[key].state is ChildState.READY
            for key in self._wanted()
        )

    def _promote(self, generation: Generation, now: float) -> Actions:
        old = self.serving()
        generation.machine.move(GenEvent.ALL_READY)
        for child in list(generation.children.values()):
            yield from self._let_serve(generation, child)
        yield Announce(generation.number)
        if old is not None:
            old.machine.move(GenEvent.SUPERSEDED)
            yield from self._drain_generation(old, now, adopt=True)

    def _let_serve(self, generation: Generation, child: Child) -> Actions:
        child.state = ChildState.SERVING
        yield Serve(child.identity)
        if child.identity.role is Role.POOL:
            generation.pool_lost_at = None
            if generation.pool_lost_told:
                generation.pool_lost_told = False
                yield PoolAvailable(generation.number, available=True)

    def child_failed(
        self, identity: Identity, stage: str, message: str, traceback: str, now: float
    ) -> Actions:
        """The child says that the application could not be started. Its exit follows."""
        generation = self.generations.get(identity.generation)
        if generation is None or self.find(identity) is None:
            return
        if generation.state is Gen.STARTING:
            yield from self._fail(generation, message, traceback, now)
        elif generation.state is Gen.SERVING:
            details = {"process": identity.name, "stage": stage, "error": message, "exception": traceback}
            yield Say("error", "application failed to start", details)

    def child_exited(self, identity: Identity, reason: str, now: float, *, pid: int = 0) -> Actions:
        """The process is gone."""
        generation = self.generations.get(identity.generation)
        child = self.find(identity)
        if generation is None or child is None:
            return
        self._forget(generation, child)
        if child.state is ChildState.DRAINING:
            yield Say("info", "process ended", {"process": identity.name, "generation": identity.generation})
        elif generation.state is Gen.STARTING and self.phase is Phase.RUNNING:
            yield from self._fail(generation, f"{identity.name} {reason} while starting", "", now)
        elif generation.state is Gen.SERVING and self.phase is not Phase.STOPPING:
            yield from self._replace(generation, child, reason, now, pid)
        yield from self._after_exit(generation)

    def _forget(self, generation: Generation, child: Child) -> None:
        if generation.children.get(child.key) is child:
            del generation.children[child.key]
        else:
            generation.leaving.remove(child)

    def _replace(self, generation: Generation, child: Child, reason: str, now: float, pid: int) -> Actions:
        details: dict[str, object] = {"process": child.identity.name, "child": pid, "reason": reason}
        if child.key in self._wanted():
            backoff = generation.backoff(child.key)
            delay = details["delay"] = backoff.delay(now)
            if backoff.deaths > 2:
                details["deaths"] = backoff.deaths
            generation.due[child.key] = now + delay
        yield Say("error", "process died", details)
        if child.identity.role is Role.POOL and not self._pool_serves(generation):
            generation.pool_lost_at = now
        yield from self._fork_due(generation, now)

    def _pool_serves(self, generation: Generation) -> bool:
        return any(
            c.identity.role is Role.POOL and c.state is ChildState.SERVING for c in generation.children.values()
        )

    def _after_exit(self, generation: Generation) -> Actions:
        if generation.state is Gen.DRAINING:
            if not any(c.identity.role is Role.WORKER for c in generation.everyone()):
                yield from self._finish_pools(generation)
            if not generation.everyone():
                generation.machine.move(GenEvent.ALL_EXITED)
                yield QuitTemplate(generation.number)
                del self.generations[generation.number]
        if self.phase is Phase.STOPPING and not self.generations:
            self.phase = Phase.OVER
            yield Exit(self.exit_code)

    def _finish_pools(self, generation: Generation) -> Actions:
        for child in generation.everyone():
            if child.identity.role is Role.POOL and child.state is ChildState.DRAINING:
                yield Finish(child.identity)

    # failure to start

    def _fail(self, generation: Generation, message: str, traceback: str, now: float) -> Actions:
        """A generation can't start. The first one ends the server; a later one leaves the running one untouched."""
        first = self.serving() is None
        event = "application could not be started" if first else "reload failed, the running code goes on"
        yield Say("error", event, {"error": message, "exception": traceback})
        generation.machine.move(GenEvent.FAILED)
        generation.due.clear()
        for child in generation.everyone():
            yield from self._drain_child(child, now, adopt=False)
        if first:
            self.phase = Phase.STOPPING
            self.exit_code = ExitCode.APP
        yield from self._after_exit(generation)

    # drain and stop

    def _drain_generation(self, generation: Generation, now: float, *, adopt: bool) -> Actions:
        generation.due.clear()
        generation.template_due = None
        for child in generation.everyone():
            yield from self._drain_child(child, now, adopt=adopt)
        yield from self._after_exit(generation)

    def _drain_child(self, child: Child, now: float, *, adopt: bool) -> Actions:
        if child.state in (ChildState.FORKING, ChildState.STARTING, ChildState.READY):
            yield Dismiss(child.identity)
            child.deadline = now + self.budgets.lifespan_shutdown + KILL_MARGIN
        elif child.state is ChildState.SERVING or not adopt:
            yield Drain(child.identity, adopt)
            child.deadline = now + self.budgets.kill_after(child.identity.role)
        child.state = ChildState.DRAINING

    def stop(self, now: float) -> Actions:
        """TERM or INT. A second one is `stop_now`."""
        if self.phase is not Phase.RUNNING:
            yield from self.stop_now("a second signal")
            return
        self.phase = Phase.DELAYING
        self._delay_end = now + self.budgets.drain_delay
        yield Say("info", "stopping", {"drain_delay": self.budgets.drain_delay})
        if self.budgets.drain_delay > 0:
            for generation in self.generations.values():
                for child in generation.everyone():
                    if child.state is ChildState.SERVING:
                        yield AnnounceClose(child.identity)
        else:
            yield from self._drain_all(now)

    def _drain_all(self, now: float) -> Actions:
        self.phase = Phase.STOPPING
        yield StopListening()
        for generation in list(self.generations.values()):
            if generation.state is not Gen.DRAINING:
                generation.machine.move(GenEvent.SUPERSEDED)
            yield from self._drain_generation(generation, now, adopt=False)

    def stop_now(self, why: str) -> Actions:
        """QUIT, or a second TERM or INT: nobody is waited for."""
        self.phase = Phase.STOPPING
        self.exit_code = ExitCode.FORCED
        yield StopListening()
        for generation in list(self.generations.values()):
            if generation.state is not Gen.DRAINING:
                generation.machine.move(GenEvent.SUPERSEDED)
            generation.due.clear()
            generation.template_due = None
            for child in generation.everyone():
                child.state = ChildState.DRAINING
                yield Kill(child.identity, why)
            yield from self._after_exit(generation)

    def scale(self, step: int, now: float) -> Actions:
        """TTIN, TTOU: one worker more or less, never fewer than one."""
        generation = self.serving()
        if generation is None or self.phase is not Phase.RUNNING or self.workers + step < 1:
            return
        key = (Role.WORKER, self.workers + 1 if step > 0 else self.workers)
        self.workers += step
        yield Say("info", "scaled", {"workers": self.workers})
        if step > 0:
            generation.due[key] = now
            yield from self._fork_due(generation, now)
            return
        generation.due.pop(key, None)
        child = generation.children.pop(key, None)
        if child is not None:
            generation.leaving.append(child)
            yield from self._drain_child(child, now, adopt=True)

    # time

    def next_at(self) -> float:
        """When `tick` has something to do."""
        times = [self._delay_end] if self.phase is Phase.DELAYING else []
        for generation in self.generations.values():
            times += [child.deadline for child in generation.everyone()]
            if generation.template_ready:
                times += generation.due.values()
            if generation.template_due is not None:
                times.append(generation.template_due)
            if generation.pool_lost_at is not None and not generation.pool_lost_told:
                times.append(generation.pool_lost_at + self.budgets.handoff)
        return min(times, default=float("inf"))

    def tick(self, now: float) -> Actions:
        """Act on what is due."""
        if self.phase is Phase.DELAYING and now >= self._delay_end:
            yield from self._drain_all(now)
        for generation in list(self.generations.values()):
            yield from self._fork_due(generation, now)
            if generation.template_due is not None and now >= generation.template_due:
                generation.template_due = None
                yield SpawnTemplate(generation.number, generation.preload)
            lost = generation.pool_lost_at
            if lost is not None and not generation.pool_lost_told and now >= lost + self.budgets.handoff:
                generation.pool_lost_told = True
                yield PoolAvailable(generation.number, available=False)
            for child in generation.everyone():
                if now >= child.deadline:
                    yield from self._overdue(child)

    def _overdue(self, child: Child) -> Actions:
        child.deadline = float("inf")
        if child.state is ChildState.DRAINING:
            self.exit_code = ExitCode.FORCED if self.phase is Phase.STOPPING else self.exit_code
            yield Kill(child.identity, "its drain took longer than its budgets")
        else:
            yield Kill(child.identity, f"not ready after {self.budgets.startup:g} s (--startup-timeout)")
