"""Starts of generations: the first one, and reloads. Pure, and part of the plan.

Promises: a reload that fails leaves the running generation as it is; one that is requested while another is in progress
begins when that has ended, as an operation of its own.
"""

from hsrv.common.terms import Preload, Role
from hsrv.ipc.messages import Failure
from hsrv.supervisor.plan.actions import (
    Announce,
    AnnounceClose,
    LogLine,
    PoolAvailable,
    Serve,
    StartFailed,
    Steps,
    ended,
    part_of,
    step,
)
from hsrv.supervisor.plan.ending import Ending
from hsrv.supervisor.plan.fleet import Child, ChildState, Gen, Generation, GenEvent
from hsrv.supervisor.plan.forking import Forking
from hsrv.supervisor.plan.state import ServerPhase, State


class Starting:
    """Starts of generations."""

    def __init__(self, state: State, ending: Ending, forking: Forking) -> None:
        self._state = state
        self._ending = ending
        self._forking = forking

    def start(self, now: float, operation: str) -> Steps:
        """Start the next generation as this operation, or queue it."""
        yield from part_of(operation, self._start(now, operation))

    def _start(self, now: float, operation: str) -> Steps:
        state = self._state
        if state.phase is not ServerPhase.RUNNING:
            return
        if state.development:
            yield from self._make_way(now)
        if state.first(Gen.STARTING) is not None:
            # the generation that is starting may have read the code before its last change
            state.queued_reload = operation
            yield LogLine("info", "reload queued", {"why": "a generation is starting already"})
            yield from step(operation, "queued: a generation is starting already")
            return
        state.queued_reload = None
        generation = self._next(state.settings.preload)
        generation.operation = operation
        if operation:
            yield LogLine("info", "reloading", {"generation": generation.number})
        yield from step(operation, f"generation {generation.number} starts")
        yield from self._forking.spawn_template(generation, now)

    def _next(self, preload: Preload, broken: Failure | None = None) -> Generation:
        state = self._state
        state.last_number += 1
        state.generations[state.last_number] = Generation(state.last_number, preload, broken=broken)
        return state.generations[state.last_number]

    def _make_way(self, now: float) -> Steps:
        """Development: no request is served by old code. New requests wait for the new generation."""
        for generation in list(self._state.generations.values()):
            if generation.state is Gen.STARTING:
                yield from self._ending.abandon(generation, now, "the code has changed again")
            elif generation.state is Gen.SERVING:
                yield from self._ending.drain_generation(generation, now, adopt=True)

    def start_queued(self, now: float) -> Steps:
        if self._state.queued_reload is not None:
            yield from self.start(now, self._state.queued_reload)

    def promote_if_complete(self, generation: Generation, now: float) -> Steps:
        if generation.state is not Gen.STARTING or not generation.is_complete():
            return
        old = self._state.serving()
        operation, generation.operation = generation.operation, ""
        generation.machine.move(GenEvent.ALL_READY)
        self._state.has_served = True
        for child in generation.children.values():
            yield from self.let_serve(generation, child)
        yield Announce(generation.number)
        yield from ended(operation)
        if old is not None:
            old.operation = operation
            yield from self._ending.drain_generation(old, now, adopt=True)
            yield from self._ending.hurry_oldest(now)
        yield from self.start_queued(now)

    def let_serve(self, generation: Generation, child: Child) -> Steps:
        child.state = ChildState.SERVING
        yield Serve(child.identity)
        if self._state.phase is ServerPhase.DELAYING:
            yield AnnounceClose(child.identity)
        if child.identity.role is Role.POOL:
            generation.pool_lost_at = None
            if generation.pool_lost_told:
                generation.pool_lost_told = False
                yield PoolAvailable(generation.number, available=True)
        elif generation.pool_lost_told:
            yield PoolAvailable(generation.number, available=False)

    def fail(self, generation: Generation, message: str, traceback: str, now: float) -> Steps:
        """It can't start. If it is the first generation, the server ends; a later one leaves the running one
        untouched."""
        if self._state.development and generation.broken is None:
            yield LogLine("error", "the code is broken", failure(message, traceback))
            yield from ended(generation.operation, message, traceback)
            yield from self._ending.abandon(generation, now, "the code is broken")
            yield from self._show_broken(Failure(message, traceback), now)
            return
        first = self._state.serving() is None
        event = "application could not be started" if first else "reload failed, the running code goes on"
        yield (StartFailed if first else LogLine)("error", event, failure(message, traceback))
        if first:
            yield from self._ending.fail(message)
        yield from ended(generation.operation, message, traceback)
        yield from self._ending.drain_generation(generation, now, adopt=False, because=GenEvent.FAILED)
        yield from self.start_queued(now)

    def _show_broken(self, why: Failure, now: float) -> Steps:
        """Development: start a generation that serves only an error page."""
        yield from self._forking.spawn_template(self._next(Preload.NONE, why), now)


def failure(message: str, traceback: str) -> dict[str, object]:
    return {"error": message, **({"exception": traceback} if traceback else {})}
