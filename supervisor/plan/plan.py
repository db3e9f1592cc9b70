"""Decides what the supervisor does. Pure: events in, actions out, time as `now`.

Owns the state of every process: which should exist, which does, and its state. Each method takes one event and returns
the actions for it, in order; nothing here waits, sends or signals. Promises: every event is harmless at any time, also
one about a process that is unknown or gone; everything that is told to end ends within a bound, and so does every
start; an action carries the operation that it belongs to; only these methods change the state.
"""

from dataclasses import replace
from math import inf
from typing import Final

from hsrv.common.terms import Identity, Preload
from hsrv.supervisor.plan.actions import Actions, LogLine, Steps, part_of
from hsrv.supervisor.plan.capacity import Capacity
from hsrv.supervisor.plan.ending import Ending
from hsrv.supervisor.plan.fleet import Gen, Generation
from hsrv.supervisor.plan.forking import Forking
from hsrv.supervisor.plan.members import Members
from hsrv.supervisor.plan.settings import Settings
from hsrv.supervisor.plan.starting import Starting, failure
from hsrv.supervisor.plan.state import ServerPhase, State, View

ADVICE: Final = "create it in the lifespan startup instead"
"""Advice for an import that leaves objects that a fork would share."""


class Plan(View):
    """One method per event; each returns the actions for it."""

    def __init__(self, settings: Settings, *, development: bool = False) -> None:
        """`development`: see `State`."""
        state = State(settings, development=development)
        super().__init__(state)
        self._ending = Ending(state)
        self._forking = Forking(state)
        self._starting = Starting(state, self._ending, self._forking)
        self._members = Members(state, self._ending, self._forking, self._starting)
        self._capacity = Capacity(state, self._ending, self._forking, self._starting)

    def _of(self, generation: Generation, steps: Steps) -> Actions:
        """Actions for a generation belong to the operation that starts or drains it."""
        return tuple(part_of(generation.operation, steps))

    def _of_child(self, identity: Identity, steps: Steps) -> Actions:
        generation = self._state.generations.get(identity.generation)
        return self._of(generation, steps) if generation is not None else tuple(steps)

    # commands

    def take_over(self, *, last_number: int, held: bool, workers: int | None) -> None:
        """Before the start: continue the numbers, the readiness and the scaling of another server."""
        self._state.last_number = last_number
        self._state.held = held
        if workers is not None:
            self._state.workers = workers

    def start(self, now: float, operation: str = "") -> Actions:
        """Start the next generation: the first one, or that of a reload, whose id is `operation`."""
        return tuple(self._starting.start(now, operation))

    def configure(self, settings: Settings, now: float, operation: str = "") -> Actions:
        """A reload has read the configuration. In development budgets and preload don't only depend on the
        configuration, and stay."""
        before = self._state.settings
        if self._state.development:
            settings = replace(
                settings, budgets=before.budgets, stop_budgets=before.stop_budgets, preload=before.preload
            )
        self._state.settings = settings
        if settings.workers == before.workers:
            return ()
        return tuple(part_of(operation, self._capacity.scale(settings.workers, now)))

    def scale(self, workers: int, now: float) -> Actions:
        """Change the number of workers, at least one."""
        return tuple(self._capacity.scale(workers, now))

    def hold(self, held: bool) -> Actions:
        """Report not ready, or ready again."""
        self._state.held = held
        return ()

    def replace(self, slot: int, operation: str, now: float) -> Actions:
        """Start a new worker for the slot, and drain the present one when the new one serves."""
        return tuple(self._capacity.replace(slot, operation, now))

    def end_streams(self, now: float) -> Actions:
        """Replace every pool."""
        return tuple(self._capacity.end_streams(now))

    def recycle(self, identity: Identity, reason: str, why: str, now: float) -> Actions:
        """Replace a process, in the order of requests, by one that serves first."""
        return tuple(self._forking.recycle(identity, reason, why, now))

    def hung(self, identity: Identity, why: str, now: float) -> Actions:
        """A process hangs: it doesn't serve and doesn't react to commands."""
        return self._of_child(identity, self._members.hung(identity, why, now))

    def stop(self, now: float) -> Actions:
        """TERM or INT. A second one is `stop_now`."""
        return tuple(self._ending.stop(now))

    def stop_now(self, why: str, now: float) -> Actions:
        """QUIT, or a second TERM or INT: wait for nothing."""
        return tuple(self._ending.stop_now(why, now))

    def leave(self, now: float, *, adopt: bool, operation: str = "") -> Actions:
        """Another server has taken over the listeners in the upgrade `operation`: drain and end. `adopt`: it takes over
        the idle connections too."""
        return tuple(part_of(operation, self._ending.leave(now, adopt=adopt)))

    # templates

    def template_ready(self, number: int, now: float) -> Actions:
        generation = self._state.generations.get(number)
        if generation is None:
            return ()
        return self._of(generation, self._forking.template_ready(generation, now))

    def template_unsafe(self, number: int, reason: str, now: float) -> Actions:
        """The import left objects that a fork would share: a new template imports nothing, its children do."""
        generation = self._state.generations.get(number)
        if generation is None or generation.state is Gen.DRAINING:
            return ()
        generation.preload = Preload.NONE
        told: dict[str, object] = {
            "why": reason,
            "instead": "each process imports for itself",
            "advice": ADVICE,
        }
        spawned = self._of(generation, self._forking.spawn_template(generation, now))
        return (LogLine("warning", "preload given up", told, operation=generation.operation), *spawned)

    def template_failed(self, number: int, message: str, traceback: str, now: float) -> Actions:
        """The application can't be imported. The template's end needs no event of its own."""
        return self._template_lost(
            number, "template failed", failure(message, traceback), (message, traceback), now
        )

    def template_gone(self, number: int, reason: str, now: float) -> Actions:
        why = f"the template {reason} while starting"
        return self._template_lost(number, "template died", {"reason": reason}, (why, ""), now)

    def _template_lost(
        self, number: int, event: str, details: dict[str, object], failed: tuple[str, str], now: float
    ) -> Actions:
        generation = self._state.generations.get(number)
        if generation is None:
            return ()
        if generation.state is Gen.STARTING:
            return self._of(generation, self._starting.fail(generation, *failed, now))
        return self._of(generation, self._forking.lose_template(generation, event, details, now))

    # children

    def child_forked(self, identity: Identity) -> Actions:
        self._members.forked(identity)
        return ()

    def child_ready(self, identity: Identity, now: float) -> Actions:
        return self._of_child(identity, self._members.ready(identity, now))

    def child_failed(
        self, identity: Identity, stage: str, message: str, traceback: str, now: float
    ) -> Actions:
        """The child says that the application could not be started. Its exit follows."""
        return self._of_child(identity, self._members.failed(identity, stage, message, traceback, now))

    def child_silent(self, identity: Identity, now: float) -> Actions:
        """Its control channel has ended, and it has not."""
        self._members.silent(identity, now)
        return ()

    def child_exited(self, identity: Identity, reason: str, now: float, *, pid: int = 0) -> Actions:
        """The process is gone, or there never was one."""
        return self._of_child(identity, self._members.exited(identity, reason, now, pid))

    # time

    def next_at(self) -> float:
        """When `tick` has something to do."""
        times = [self._state.delay_end] if self.phase is ServerPhase.DELAYING else []
        for generation in self.generations.values():
            times += [child.deadline for child in generation.everyone()]
            times.append(self._forking.next_at(generation))
        return min(times, default=inf)

    def tick(self, now: float) -> Actions:
        """Act on what is due."""
        return tuple(self._tick(now))

    def _tick(self, now: float) -> Steps:
        if self.phase is ServerPhase.DELAYING and now >= self._state.delay_end:
            yield from self._ending.drain_all(now)
        for generation in list(self.generations.values()):
            yield from part_of(generation.operation, self._due(generation, now))

    def _due(self, generation: Generation, now: float) -> Steps:
        yield from self._forking.tick(generation, now)
        for child in generation.everyone():
            if now >= child.deadline:
                operation = generation.replacement_of(child)
                yield from part_of(operation, self._members.overdue(child, now))
