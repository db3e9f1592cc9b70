"""Ends of processes, generations and the server. Pure, and part of the plan.

Promise: everything that is told to end ends within a bound.
"""

from dataclasses import replace
from math import inf
from typing import Final

from hsrv.common.errors import ExitCode
from hsrv.common.terms import DeathReason, Role
from hsrv.supervisor.plan.actions import (
    AnnounceClose,
    Dismiss,
    Drain,
    Exit,
    Finish,
    Kill,
    LogLine,
    MoveHandoffs,
    QuitTemplate,
    Steps,
    StopListening,
    Stopping,
    ended,
)
from hsrv.supervisor.plan.fleet import Budgets, Child, ChildState, Gen, Generation, GenEvent
from hsrv.supervisor.plan.state import NOT_SERVING, ServerPhase, State

KILL_TIMEOUT: Final = 5.0
"""Seconds for a process to end after SIGKILL. If it takes longer, it hangs in the kernel and is not waited for."""


class Ending:
    """Ends of processes, generations and the server."""

    def __init__(self, state: State) -> None:
        self._state = state

    # one process

    def drain_child(self, child: Child, now: float, *, adopt: bool) -> Steps:
        budgets = self._budgets()
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

    def _budgets(self) -> Budgets:
        state = self._state
        return state.budgets if state.phase is ServerPhase.RUNNING else state.settings.stop_budgets

    def _finish(self, pool: Child, now: float) -> Steps:
        """Its workers have ended. Its lifespan shutdown begins only now, after theirs, and has its whole budget,
        once."""
        if not pool.finishing:
            pool.finishing = True
            pool.deadline = max(pool.deadline, now + self._budgets().dismissal())
        yield Finish(pool.identity)

    def kill(self, child: Child, reason: DeathReason, why: str, now: float) -> Steps:
        child.state = ChildState.KILLED
        child.deadline = now + KILL_TIMEOUT
        yield Kill(child.identity, reason, why)

    def kill_late(self, child: Child, now: float) -> Steps:
        """Its deadline has passed."""
        if self._state.phase is ServerPhase.STOPPING and child.reason is not DeathReason.STOPPED:
            self._forced()  # if it has not served, nothing is lost
        yield from self.kill(child, child.reason, child.why, now)

    # a generation

    def drain_generation(
        self, generation: Generation, now: float, *, adopt: bool, because: GenEvent = GenEvent.SUPERSEDED
    ) -> Steps:
        """End it. Also if it drains already: there may be no process to adopt any more."""
        if because is not GenEvent.FAILED:
            yield from self._give_up(generation)
        if generation.state is not Gen.DRAINING:
            generation.machine.move(because)
        generation.want_nothing()
        for child in generation.everyone():
            yield from self.drain_child(child, now, adopt=adopt)
        yield from self.after_exit(generation, now)

    def abandon(self, generation: Generation, now: float, why: str) -> Steps:
        """End a generation that doesn't serve."""
        yield from ended(generation.operation, why)
        generation.machine.move(GenEvent.FAILED)
        generation.want_nothing()
        for child in generation.everyone():
            if child.state is ChildState.FORKING:
                yield from self.drain_child(child, now, adopt=False)
            else:
                yield from self.kill(child, DeathReason.STOPPED, why, now)
        yield from self.after_exit(generation, now)

    def _give_up(self, generation: Generation) -> Steps:
        """End the operations that wait for it: its start, and its replacements."""
        if generation.state is Gen.STARTING:
            yield from ended(generation.operation, "the server stops")
        for operation in generation.replacing.values():
            yield from ended(operation, f"generation {generation.number} ends")
        generation.replacing.clear()
        generation.incoming.clear()

    def hurry_oldest(self, now: float) -> Steps:
        """Draining generations use memory: beyond the limit the streams of the oldest are ended at once."""
        most = self._state.settings.max_draining
        draining = [one for one in self._state.generations.values() if one.state is Gen.DRAINING]
        for generation in draining[:-most]:
            if not generation.hurried:
                generation.hurried = True
                why = f"more than {most} generations drain (--max-draining)"
                yield LogLine("warning", "streams ended early", {"generation": generation.number, "why": why})
                budgets = replace(self._state.budgets, stream_grace=0.0)
                for child in generation.everyone():
                    if child.state is ChildState.DRAINING:
                        yield self._drain_within(child, now, budgets, adopt=True)

    def after_exit(self, generation: Generation, now: float) -> Steps:
        """A draining generation may have lost its last worker, its last pool, or its last process."""
        if generation.state is not Gen.DRAINING:
            return
        state, number = self._state, generation.number
        if generation.has(Role.WORKER) and not generation.has(Role.POOL) and state.serving() is not None:
            yield MoveHandoffs(number)  # its workers may take long; QuitTemplate moves the rest
        if not generation.has(Role.WORKER):
            for child in generation.everyone():
                if child.state is ChildState.DRAINING:
                    yield from self._finish(child, now)
        if not generation.everyone():
            generation.machine.move(GenEvent.ALL_EXITED)
            yield QuitTemplate(
                number, template_stays=state.development and state.phase is ServerPhase.RUNNING
            )
            del state.generations[number]
        if state.phase is ServerPhase.STOPPING and not state.generations:
            state.phase = ServerPhase.OVER
            if state.failure:  # again, because people look at the end of the output
                yield LogLine("error", "exiting", {"code": int(state.exit_code), "error": state.failure})
            yield Exit(state.exit_code)

    # the server

    def stop(self, now: float) -> Steps:
        """TERM or INT. A second one is `stop_now`."""
        state = self._state
        if state.phase is not ServerPhase.RUNNING:
            yield from self.stop_now("a second signal", now)
            return
        yield from self.forget_queued()
        serving = state.serving()
        delay = state.budgets.drain_delay if serving is not None else 0.0
        yield Stopping("info", "stopping", {"drain_delay": delay})
        if serving is None or delay <= 0:
            yield from self.drain_all(now)
            return
        state.phase = ServerPhase.DELAYING
        state.delay_end = now + delay
        for child in serving.everyone():
            if child.state is ChildState.SERVING:
                yield AnnounceClose(child.identity)
        if (starting := state.first(Gen.STARTING)) is not None:
            yield from self.drain_generation(starting, now, adopt=False)

    def drain_all(self, now: float) -> Steps:
        self._state.phase = ServerPhase.STOPPING
        yield StopListening()
        for generation in list(self._state.generations.values()):
            yield from self.drain_generation(generation, now, adopt=False)

    def leave(self, now: float, *, adopt: bool) -> Steps:
        """Another server has taken over the listeners: drain and end. `adopt`: it takes over the idle connections
        too."""
        if self._state.phase is not ServerPhase.RUNNING:
            return
        yield from self.forget_queued()
        yield LogLine("info", "leaving", {"adopted": adopt})
        self._state.phase = ServerPhase.STOPPING
        for generation in list(self._state.generations.values()):
            yield from self.drain_generation(generation, now, adopt=adopt)

    def stop_now(self, why: str, now: float) -> Steps:
        """QUIT, or a second TERM or INT: wait for nothing."""
        state = self._state
        if state.phase is ServerPhase.OVER:
            return
        self._forced()
        yield from self.forget_queued()
        state.phase = ServerPhase.STOPPING
        yield StopListening()
        for generation in list(state.generations.values()):
            yield from self._give_up(generation)
            if generation.state is not Gen.DRAINING:
                generation.machine.move(GenEvent.SUPERSEDED)
            generation.want_nothing()
            for child in generation.everyone():
                yield from self.kill(child, DeathReason.STOPPED, why, now)
            yield from self.after_exit(generation, now)

    def fail(self, why: str) -> Steps:
        """The first generation can't start: the server ends when its processes have ended."""
        self._state.failure = why
        self._state.phase = ServerPhase.STOPPING
        self._state.exit_code = ExitCode.APP
        yield from self.forget_queued()

    def forget_queued(self) -> Steps:
        """The server stops: end a queued reload."""
        if self._state.queued_reload is not None:
            yield from ended(self._state.queued_reload, "the server stops")
            self._state.queued_reload = None

    def _forced(self) -> None:
        if self._state.exit_code is ExitCode.OK:
            self._state.exit_code = ExitCode.FORCED
