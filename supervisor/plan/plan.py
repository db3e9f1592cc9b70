"""What the supervisor does next. Pure: events in, actions out, time as `now`.

Owns the picture of every process: which should be there, which is, and in which state. Each method takes
one event and returns the actions it calls for, in order; nothing here waits, sends or signals. Promises:
every event is harmless at any time, also one about a process that is unknown or gone; whatever is told to
end, ends within a bound, and so does every start.
"""

from dataclasses import replace
from enum import Enum, auto
from math import inf
from typing import Final

from hsrv.common.errors import ExitCode
from hsrv.common.terms import DeathReason, Identity, Preload, Role
from hsrv.ipc.messages import Failure
from hsrv.supervisor.plan.actions import (
    Actions,
    Announce,
    AnnounceClose,
    BeginStartup,
    Dismiss,
    Drain,
    Exit,
    Finish,
    ForkChild,
    Kill,
    KillTemplate,
    MoveHandoffs,
    OperationEnded,
    OperationStep,
    PoolAvailable,
    QuitTemplate,
    Recycled,
    Say,
    Serve,
    SpawnTemplate,
    StopListening,
)
from hsrv.supervisor.plan.fleet import (
    LEADER,
    Budgets,
    Child,
    ChildState,
    Gen,
    Generation,
    GenEvent,
    Key,
    TemplateState,
    WornOut,
)

SILENCE_TIMEOUT: Final = 5.0
"""Seconds between the end of a control channel and the end of its process."""

KILL_TIMEOUT: Final = 5.0
"""Seconds between SIGKILL and the end of the process. Later it hangs in the kernel, and is not waited for."""

NOT_SERVING: Final = (ChildState.FORKING, ChildState.STARTING, ChildState.READY)


class Phase(Enum):
    """Of the whole server."""

    RUNNING = auto()
    DELAYING = auto()
    """Told to stop, still accepting (--drain-delay)."""
    STOPPING = auto()
    OVER = auto()


class Plan:
    """The fleet: every generation and the phase of the server."""

    def __init__(
        self,
        budgets: Budgets,
        *,
        workers: int,
        pools: int,
        preload: Preload,
        stop_budgets: Budgets | None = None,
        max_draining: int = 4,
        development: bool = False,
        leader_first: bool = False,
    ) -> None:
        """`stop_budgets`: those of the end of the server, where they differ. `development`: new code is wanted at once,
        and what is broken is shown instead of not served (`hsrv.supervisor.develop.development`). `leader_first`: a
        generation's other processes begin their lifespan startup when the leader's is complete."""
        self.budgets = budgets
        self.stop_budgets = stop_budgets or budgets
        self.max_draining = max_draining
        self.development = development
        self.leader_first = leader_first
        self.workers = workers
        self.pools = pools
        self.preload = preload
        self.phase = Phase.RUNNING
        self.generations: dict[int, Generation] = {}
        self.exit_code = ExitCode.OK
        self._failure = ""
        """Why the server ends with `ExitCode.APP`."""
        self._delay_end = inf
        self.last_number = 0
        """Of generations. A server that takes over goes on counting from the old one's."""
        self.queued_reload: str | None = None
        """The id of the reload that begins when the one in progress is over."""
        self.has_served = False
        """A generation has, whatever came then."""
        self.held = False
        """The operator wants no readiness (`hsrv drain`)."""

    # picture

    def serving(self) -> Generation | None:
        """The generation that serves."""
        return self._first(Gen.SERVING)

    def lacks_worker(self) -> bool:
        """Whether connections are to be accepted, and nobody does."""
        serving = self.serving()
        return serving is not None and not serving.has(Role.WORKER, ChildState.SERVING)

    def _first(self, state: Gen) -> Generation | None:
        return next((g for g in self.generations.values() if g.state is state), None)

    def _wanted(self) -> list[Key]:
        """Pools first: they are ready to receive before any worker hands over."""
        return [(Role.POOL, n + 1) for n in range(self.pools)] + [
            (Role.WORKER, n + 1) for n in range(self.workers)
        ]

    def find(self, identity: Identity) -> Child | None:
        generation = self.generations.get(identity.generation)
        everyone = generation.everyone() if generation is not None else []
        return next((child for child in everyone if child.identity is identity), None)

    # start and reload

    def start(self, now: float, reload_id: str = "") -> Actions:
        """Start the next generation: the first one, or a reload, which `reload_id` names."""
        if self.phase is not Phase.RUNNING:
            return
        if self.development:
            yield from self._make_way(now)
        if self._first(Gen.STARTING) is not None:
            self.queued_reload = (
                reload_id  # what starts at present may have read the code before its last change
            )
            yield Say("info", "reload queued", {"why": "a generation is starting already"})
            yield OperationStep(reload_id, "queued: a generation is starting already")
            return
        self.queued_reload = None
        self.last_number += 1
        generation = self.generations[self.last_number] = Generation(
            self.last_number, self.preload, reload_id=reload_id
        )
        if reload_id:
            yield Say("info", "reloading", {"generation": generation.number})
        yield OperationStep(reload_id, f"generation {generation.number} starts")
        yield from self._spawn_template(generation, now)

    def _make_way(self, now: float) -> Actions:
        """Development: nobody is served by code that has changed. What comes waits for the new one."""
        for generation in list(self.generations.values()):
            if generation.state is Gen.STARTING:
                yield from self._abandon(generation, now, "the code has changed again")
            elif generation.state is Gen.SERVING:
                yield from self._drain_generation(generation, now, adopt=True)

    def _abandon(self, generation: Generation, now: float, why: str) -> Actions:
        """Nobody needs it any more, and it serves nobody."""
        yield OperationEnded(generation.reload_id, why)
        generation.machine.move(GenEvent.FAILED)
        generation.want_nothing()
        for child in generation.everyone():
            if child.state is ChildState.FORKING:
                yield from self.drain_child(child, now, adopt=False)
            else:
                yield from self._kill(child, DeathReason.STOPPED, why, now)
        yield from self._after_exit(generation)

    def _show_broken(self, failure: Failure, now: float) -> Actions:
        """Development: a generation that serves nothing but the reason."""
        self.last_number += 1
        number = self.last_number
        self.generations[number] = Generation(number, Preload.NONE, broken=failure)
        yield from self._spawn_template(self.generations[number], now)

    def _spawn_template(self, generation: Generation, now: float) -> Actions:
        generation.template = TemplateState.STARTING
        generation.template_at = now + self.budgets.startup
        yield SpawnTemplate(generation.number, generation.preload)

    def template_ready(self, number: int, now: float) -> Actions:
        generation = self.generations.get(number)
        if generation is None:
            return
        generation.template = TemplateState.READY
        generation.template_at = inf
        if generation.state is Gen.STARTING:
            generation.due = dict.fromkeys(self._wanted(), now)
            yield OperationStep(generation.reload_id, "template ready")
        yield from self.fork_due(generation, now)
        yield from self._recycle_next(generation, now)

    def template_unsafe(self, number: int, reason: str, now: float) -> Actions:
        """The import left what a fork would share: a fresh one imports nothing, its children do."""
        generation = self.generations.get(number)
        if generation is None or generation.state is Gen.DRAINING:
            return
        generation.preload = Preload.NONE
        yield Say(
            "warning", "preload given up", {"why": reason, "instead": "each process imports for itself"}
        )
        yield from self._spawn_template(generation, now)

    def template_failed(self, number: int, message: str, traceback: str, now: float) -> Actions:
        """The application can't be imported. The template's end needs no event of its own."""
        generation = self.generations.get(number)
        if generation is None:
            return
        if generation.state is Gen.STARTING:
            yield from self._fail(generation, message, traceback, now)
        else:
            yield from self._lose_template(generation, "template failed", _failure(message, traceback), now)

    def template_gone(self, number: int, reason: str, now: float) -> Actions:
        generation = self.generations.get(number)
        if generation is None:
            return
        if generation.state is Gen.STARTING:
            yield from self._fail(generation, f"the template {reason} while starting", "", now)
        else:
            yield from self._lose_template(generation, "template died", {"reason": reason}, now)

    def _lose_template(
        self, generation: Generation, event: str, details: dict[str, object], now: float
    ) -> Actions:
        generation.template = TemplateState.GONE
        generation.template_at = inf
        if generation.state is Gen.SERVING:
            delay = generation.backoff(None).delay(now)
            generation.template_at = now + delay
            yield Say("error", event, {"generation": generation.number, "delay": delay, **details})

    def fork_due(self, generation: Generation, now: float) -> Actions:
        if generation.template is not TemplateState.READY:
            return
        for key in [key for key, at in generation.due.items() if at <= now]:
            del generation.due[key]
            child = generation.children[key] = self.new_child(generation, key, now)
            yield ForkChild(child.identity, child.waits)

    def new_child(self, generation: Generation, key: Key, now: float) -> Child:
        role, slot = key
        identity = Identity(role, slot, generation.number, leader=key == LEADER)
        why = f"not ready after {self.budgets.startup:g} s (--startup-timeout)"
        waits = self.leader_first and generation.waits_for_leader(key)
        deadline = inf if waits else now + self.budgets.startup
        return Child(identity, ChildState.FORKING, deadline, why, waits=waits)

    def _begin_startups(self, generation: Generation, now: float) -> Actions:
        """The leader is ready: whoever waits for that has the whole budget of a start from now on."""
        for child in generation.everyone():
            if child.waits and child.state in (ChildState.FORKING, ChildState.STARTING):
                child.waits = False
                child.deadline = now + self.budgets.startup
                yield BeginStartup(child.identity)

    # children

    def child_forked(self, identity: Identity) -> None:
        child = self.find(identity)
        if child is not None and child.state is ChildState.FORKING:
            child.state = ChildState.STARTING

    def child_ready(self, identity: Identity, now: float) -> Actions:
        child = self.find(identity)
        if child is None or child.state not in (ChildState.FORKING, ChildState.STARTING):
            return
        child.state = ChildState.READY
        child.deadline = inf
        generation = self.generations[identity.generation]
        if generation.state is Gen.SERVING:
            yield from self._let_serve(generation, child)
            yield from self._take_over(generation, child, now)
            yield from self._end_operation(generation, child)
            yield from self._recycle_next(generation, now)
        else:
            ready = sum(child.state is ChildState.READY for child in generation.children.values())
            yield OperationStep(generation.reload_id, f"{ready} of {len(self._wanted())} processes ready")
            if identity.leader:
                yield from self._begin_startups(generation, now)
            yield from self.promote_if_complete(generation, now)

    def _take_over(self, generation: Generation, child: Child, now: float) -> Actions:
        """A process that was started to replace another takes its slot, and the other one drains."""
        if generation.incoming.get(child.key) is child:
            worn_out = generation.worn_out.get(child.key)
            old = generation.retire(child.key)
            generation.give_slot(child)
            if worn_out is not None:
                yield Recycled(worn_out.reason)
            if old is not None:
                yield from self.drain_child(old, now, adopt=True)

    def _end_operation(
        self, generation: Generation, child: Child, error: str = "", traceback: str = ""
    ) -> Actions:
        """The process that an operation waits for, if this is it, serves or never will."""
        waits_for = generation.incoming.get(child.key) or generation.children.get(child.key)
        if waits_for is child and (operation := generation.operations.pop(child.key, None)):
            yield OperationEnded(operation, error, traceback)

    def promote_if_complete(self, generation: Generation, now: float) -> Actions:
        if generation.state is not Gen.STARTING or not generation.is_complete():
            return
        old = self.serving()
        reload_id, generation.reload_id = generation.reload_id, ""
        generation.machine.move(GenEvent.ALL_READY)
        self.has_served = True
        for child in generation.children.values():
            yield from self._let_serve(generation, child)
        yield Announce(generation.number)
        yield OperationEnded(reload_id)
        if old is not None:
            old.reload_id = reload_id
            yield from self._drain_generation(old, now, adopt=True)
            yield from self._hurry_oldest(now)
        yield from self._start_queued(now)

    def _let_serve(self, generation: Generation, child: Child) -> Actions:
        child.state = ChildState.SERVING
        yield Serve(child.identity)
        if self.phase is Phase.DELAYING:
            yield AnnounceClose(child.identity)
        if child.identity.role is Role.POOL:
            generation.pool_lost_at = None
            if generation.pool_lost_told:
                generation.pool_lost_told = False
                yield PoolAvailable(generation.number, available=True)
        elif generation.pool_lost_told:
            yield PoolAvailable(generation.number, available=False)

    def _start_queued(self, now: float) -> Actions:
        if self.queued_reload is not None:
            yield from self.start(now, self.queued_reload)

    def _forget_queued(self) -> Actions:
        """The server stops: no reload follows the one in progress."""
        if self.queued_reload is not None:
            yield OperationEnded(self.queued_reload, "the server stops")
            self.queued_reload = None

    def hung(self, identity: Identity, why: str, now: float) -> Actions:
        """It serves nobody any more and can't be led: another one takes its slot when it is gone."""
        child = self.find(identity)
        if child is not None and child.state is ChildState.SERVING:
            yield from self._kill(child, DeathReason.HUNG, why, now)

    def recycle(self, identity: Identity, reason: str, why: str, now: float) -> Actions:
        """A process is to be replaced: after those that were to be before, by one that serves first."""
        child, generation = self.find(identity), self.generations.get(identity.generation)
        if child is None or generation is None or child.state is not ChildState.SERVING:
            return
        if generation.state is Gen.SERVING and self.phase is Phase.RUNNING:
            generation.worn_out.setdefault(child.key, WornOut(reason, why, now))
            yield from self._recycle_next(generation, now)

    def _recycle_next(self, generation: Generation, now: float) -> Actions:
        if now < self._recycle_at(generation):
            return
        key = next(key for key, one in generation.to_recycle().items() if one.at <= now)
        fresh = self.new_child(generation, key, now)
        why = generation.worn_out[key].why
        yield Say("info", "recycling", {"process": fresh.identity.name, "why": why})
        generation.take_in(fresh)
        yield ForkChild(fresh.identity)

    def _recycle_at(self, generation: Generation) -> float:
        """When the next replacement may begin, as things are."""
        begins = generation.template is TemplateState.READY and not generation.incoming
        if self.phase is not Phase.RUNNING or generation.state is not Gen.SERVING or not begins:
            return inf
        return min((one.at for one in generation.to_recycle().values()), default=inf)

    def child_failed(
        self, identity: Identity, stage: str, message: str, traceback: str, now: float
    ) -> Actions:
        """The child says that the application could not be started. Its exit follows."""
        child = self.find(identity)
        if child is None or child.state not in (*NOT_SERVING, ChildState.KILLED):
            return  # one that was just about to be killed for being late has the better reason
        generation = self.generations[identity.generation]
        if generation.state is Gen.STARTING:
            yield from self._fail(generation, message, traceback, now)
        else:
            details = {"process": identity.name, "stage": stage, **_failure(message, traceback)}
            yield Say("error", "application failed to start", details)
            yield from self._end_operation(generation, child, message, traceback)

    def child_silent(self, identity: Identity, now: float) -> None:
        """Its control channel has ended, and it has not. Without one it can't be led."""
        child = self.find(identity)
        if child is not None and child.state in (ChildState.STARTING, ChildState.READY, ChildState.SERVING):
            child.must_end_by(
                now + SILENCE_TIMEOUT, DeathReason.CONTROL_LOST, "it closed its control channel"
            )

    def child_exited(self, identity: Identity, reason: str, now: float, *, pid: int = 0) -> Actions:
        """The process is gone, or there never was one."""
        child = self.find(identity)
        if child is None:
            return
        generation = self.generations[identity.generation]
        yield from self._end_operation(generation, child, f"the new {identity.name} {reason}")
        if generation.incoming.get(child.key) is child:
            self._try_later(generation, child.key, now)
        retired = generation.children.get(child.key) is not child
        generation.forget(child)
        if retired or generation.state is Gen.DRAINING:
            details = {
                "process": identity.name,
                "generation": identity.generation,
                "child": pid,
                "reason": reason,
            }
            yield Say("info", "process ended", details)
            yield from self._after_exit(generation)
            yield from self._recycle_next(generation, now)
        elif generation.state is Gen.STARTING:
            yield from self._fail(generation, f"{identity.name} {reason} while starting", "", now)
        else:
            yield from self._replace(generation, child, reason, now, pid)

    def _try_later(self, generation: Generation, key: Key, now: float) -> None:
        """A replacement has failed: the others come first, and each further failure makes the pause longer."""
        delay = generation.backoff(key).delay(now)
        worn_out = generation.worn_out.pop(key, None)
        if worn_out is not None:
            generation.worn_out[key] = replace(worn_out, at=now + delay)

    def _replace(self, generation: Generation, child: Child, reason: str, now: float, pid: int) -> Actions:
        backoff = generation.backoff(child.key)
        delay = backoff.delay(now)
        incoming = generation.incoming.get(child.key)
        if incoming is None:
            generation.due[child.key] = now + delay
        else:  # its replacement is on the way already
            generation.give_slot(incoming)
        details: dict[str, object] = {
            "process": child.identity.name,
            "child": pid,
            "reason": reason,
            "delay": delay,
        }
        if backoff.deaths > 2:
            details["deaths"] = backoff.deaths
        yield Say("error", "process died", details)
        pool_lost = child.identity.role is Role.POOL and not generation.has(Role.POOL, ChildState.SERVING)
        if pool_lost and generation.pool_lost_at is None:
            generation.pool_lost_at = now
        yield from self.fork_due(generation, now)

    def _after_exit(self, generation: Generation) -> Actions:
        """A draining generation may have lost its last worker, its last pool, or its last process."""
        if generation.state is not Gen.DRAINING:
            return
        if generation.has(Role.WORKER) and not generation.has(Role.POOL) and self.serving() is not None:
            yield MoveHandoffs(
                generation.number
            )  # its workers may take long; the last move is QuitTemplate's
        if not generation.has(Role.WORKER):
            for child in generation.everyone():
                if child.state is ChildState.DRAINING:
                    yield Finish(child.identity)
        if not generation.everyone():
            generation.machine.move(GenEvent.ALL_EXITED)
            yield QuitTemplate(generation.number)
            del self.generations[generation.number]
        if self.phase is Phase.STOPPING and not self.generations:
            self.phase = Phase.OVER
            if self._failure:  # once more: the end of the output is what people look at
                yield Say("error", "exiting", {"code": int(self.exit_code), "error": self._failure})
            yield Exit(self.exit_code)

    def _fail(self, generation: Generation, message: str, traceback: str, now: float) -> Actions:
        """It can't start. The first generation ends the server; a later one leaves the running one
        untouched."""
        if self.development and generation.broken is None:
            yield Say("error", "the code is broken", _failure(message, traceback))
            yield OperationEnded(generation.reload_id, message, traceback)
            yield from self._abandon(generation, now, "the code is broken")
            yield from self._show_broken(Failure(message, traceback), now)
            return
        first = self.serving() is None
        event = "application could not be started" if first else "reload failed, the running code goes on"
        yield Say("error", event, _failure(message, traceback))
        if first:
            self.phase = Phase.STOPPING
            self.exit_code = ExitCode.APP
            self._failure = message
            yield from self._forget_queued()
        yield OperationEnded(generation.reload_id, message, traceback)
        yield from self._drain_generation(generation, now, adopt=False, because=GenEvent.FAILED)
        yield from self._start_queued(now)

    # drain and stop

    def _drain_generation(
        self, generation: Generation, now: float, *, adopt: bool, because: GenEvent = GenEvent.SUPERSEDED
    ) -> Actions:
        """Let it end. Also one that drains already: there may be nobody to adopt any more."""
        if because is not GenEvent.FAILED:
            yield from self._give_up(generation)
        if generation.state is not Gen.DRAINING:
            generation.machine.move(because)
        generation.want_nothing()
        for child in generation.everyone():
            yield from self.drain_child(child, now, adopt=adopt)
        yield from self._after_exit(generation)

    def _hurry_oldest(self, now: float) -> Actions:
        """Generations that drain hold memory: beyond the limit the oldest have no time left for their streams."""
        draining = [one for one in self.generations.values() if one.state is Gen.DRAINING]
        for generation in draining[: -self.max_draining]:
            if not generation.hurried:
                generation.hurried = True
                why = f"more than {self.max_draining} generations drain (--max-draining)"
                yield Say("warning", "streams ended early", {"generation": generation.number, "why": why})
                budgets = replace(self.budgets, stream_grace=0.0)
                for child in generation.everyone():
                    if child.state is ChildState.DRAINING:
                        yield self._drain_within(child, now, budgets, adopt=True)

    def _give_up(self, generation: Generation) -> Actions:
        """What was to come of it will not: its start, and its replacements."""
        if generation.state is Gen.STARTING:
            yield OperationEnded(generation.reload_id, "the server stops")
        for operation in generation.operations.values():
            yield OperationEnded(operation, f"generation {generation.number} ends")
        generation.operations.clear()
        generation.incoming.clear()

    def drain_child(self, child: Child, now: float, *, adopt: bool) -> Actions:
        budgets = self.budgets if self.phase is Phase.RUNNING else self.stop_budgets
        if child.state is ChildState.READY:
            child.state = ChildState.DISMISSED
            why = "it was dismissed and did not end within its budget"
            child.must_end_by(now + budgets.dismissal(), DeathReason.DRAIN_TIMEOUT, why)
            yield Dismiss(child.identity)
        elif child.state in NOT_SERVING:
            child.state = ChildState.DISMISSED
            why = "it was dismissed while the application started, and did not end"
            child.must_end_by(now + budgets.margin, DeathReason.STOPPED, why)
            yield Dismiss(child.identity)
        elif child.state is ChildState.SERVING:
            child.state = ChildState.DRAINING
            child.deadline = inf
            yield self._drain_within(child, now, budgets, adopt=adopt)
        elif child.state is ChildState.DRAINING and not adopt:
            yield self._drain_within(child, now, budgets, adopt=adopt)

    def _drain_within(self, child: Child, now: float, budgets: Budgets, *, adopt: bool) -> Drain:
        """A drain in progress may get less time, never more."""
        deadline = min(child.deadline, now + budgets.drain(child.identity.role))
        child.must_end_by(deadline, DeathReason.DRAIN_TIMEOUT, "its drain took longer than its budgets")
        return Drain(child.identity, adopt, budgets.graceful, budgets.stream_grace)

    def stop(self, now: float) -> Actions:
        """TERM or INT. A second one is `stop_now`."""
        if self.phase is not Phase.RUNNING:
            yield from self.stop_now("a second signal", now)
            return
        yield from self._forget_queued()
        serving = self.serving()
        delay = self.budgets.drain_delay if serving is not None else 0.0
        yield Say("info", "stopping", {"drain_delay": delay})
        if serving is None or delay <= 0:
            yield from self._drain_all(now)
            return
        self.phase = Phase.DELAYING
        self._delay_end = now + delay
        for child in serving.everyone():
            if child.state is ChildState.SERVING:
                yield AnnounceClose(child.identity)
        if (starting := self._first(Gen.STARTING)) is not None:
            yield from self._drain_generation(starting, now, adopt=False)

    def _drain_all(self, now: float) -> Actions:
        self.phase = Phase.STOPPING
        yield StopListening()
        for generation in list(self.generations.values()):
            yield from self._drain_generation(generation, now, adopt=False)

    def leave(self, now: float, *, adopt: bool) -> Actions:
        """Another server has taken over the listeners: drain, and end. `adopt`: it takes the idle connections too."""
        if self.phase is not Phase.RUNNING:
            return
        yield from self._forget_queued()
        yield Say("info", "leaving", {"adopted": adopt})
        self.phase = Phase.STOPPING
        for generation in list(self.generations.values()):
            yield from self._drain_generation(generation, now, adopt=adopt)

    def stop_now(self, why: str, now: float) -> Actions:
        """QUIT, or a second TERM or INT: nobody is waited for."""
        if self.phase is Phase.OVER:
            return
        self._forced()
        yield from self._forget_queued()
        self.phase = Phase.STOPPING
        yield StopListening()
        for generation in list(self.generations.values()):
            yield from self._give_up(generation)
            if generation.state is not Gen.DRAINING:
                generation.machine.move(GenEvent.SUPERSEDED)
            generation.want_nothing()
            for child in generation.everyone():
                yield from self._kill(child, DeathReason.STOPPED, why, now)
            yield from self._after_exit(generation)

    def _forced(self) -> None:
        if self.exit_code is ExitCode.OK:
            self.exit_code = ExitCode.FORCED

    def _kill(self, child: Child, reason: DeathReason, why: str, now: float) -> Actions:
        child.state = ChildState.KILLED
        child.deadline = now + KILL_TIMEOUT
        yield Kill(child.identity, reason, why)

    # time

    def next_at(self) -> float:
        """When `tick` has something to do."""
        times = [self._delay_end] if self.phase is Phase.DELAYING else []
        for generation in self.generations.values():
            times += [child.deadline for child in generation.everyone()]
            times += [generation.template_at, generation.pool_report_at() + self.budgets.handoff]
            if generation.template is TemplateState.READY:
                times += generation.due.values()
            times.append(self._recycle_at(generation))
        return min(times, default=inf)

    def tick(self, now: float) -> Actions:
        """Act on what is due."""
        if self.phase is Phase.DELAYING and now >= self._delay_end:
            yield from self._drain_all(now)
        for generation in list(self.generations.values()):
            yield from self.fork_due(generation, now)
            yield from self._recycle_next(generation, now)
            if now >= generation.template_at:
                yield from self._template_due(generation, now)
            if now >= generation.pool_report_at() + self.budgets.handoff:
                generation.pool_lost_told = True
                yield PoolAvailable(generation.number, available=False)
            for child in generation.everyone():
                if now >= child.deadline:
                    yield from self._overdue(child, now)

    def _template_due(self, generation: Generation, now: float) -> Actions:
        if generation.template is TemplateState.GONE:
            yield from self._spawn_template(generation, now)
        else:
            generation.template_at = inf
            yield KillTemplate(
                generation.number, f"not ready after {self.budgets.startup:g} s (--startup-timeout)"
            )

    def _overdue(self, child: Child, now: float) -> Actions:
        if child.state is ChildState.KILLED:
            yield from self.child_exited(
                child.identity, f"did not end within {KILL_TIMEOUT:g} s of SIGKILL", now
            )
            return
        if self.phase is Phase.STOPPING and child.reason is not DeathReason.STOPPED:
            self._forced()  # of one that has not served nothing is lost
        yield from self._kill(child, child.reason, child.why, now)


def _failure(message: str, traceback: str) -> dict[str, object]:
    return {"error": message, **({"exception": traceback} if traceback else {})}
