"""Events of the processes of a generation: ready, failed, hung, exited. Pure, and part of the plan."""

from math import inf
from typing import Final

from hsrv.common.terms import DeathReason, Identity
from hsrv.supervisor.plan.actions import LogLine, ProcessGone, Recycled, Steps, ended, part_of, step
from hsrv.supervisor.plan.ending import KILL_TIMEOUT, Ending
from hsrv.supervisor.plan.fleet import Child, ChildState, Gen, Generation
from hsrv.supervisor.plan.forking import Forking
from hsrv.supervisor.plan.starting import Starting, failure
from hsrv.supervisor.plan.state import NOT_SERVING, State

SILENCE_TIMEOUT: Final = 5.0
"""Seconds between the end of a control channel and the end of its process."""


class Members:
    """Workers and pools."""

    def __init__(self, state: State, ending: Ending, forking: Forking, starting: Starting) -> None:
        self._state = state
        self._ending = ending
        self._forking = forking
        self._starting = starting

    def forked(self, identity: Identity) -> None:
        child = self._state.find(identity)
        if child is not None and child.state is ChildState.FORKING:
            child.state = ChildState.STARTING

    def ready(self, identity: Identity, now: float) -> Steps:
        child = self._state.find(identity)
        if child is None or child.state not in (ChildState.FORKING, ChildState.STARTING):
            return
        child.state = ChildState.READY
        child.deadline = inf
        generation = self._state.generations[identity.generation]
        if generation.state is Gen.SERVING:
            operation = generation.replacement_of(child)
            yield from part_of(operation, self._begin(generation, child, now))
            yield from self._forking.recycle_next(generation, now)
        else:
            ready = sum(one.state is ChildState.READY for one in generation.children.values())
            text = f"{ready} of {len(self._state.wanted())} processes ready"
            yield from step(generation.operation, text)
            if identity.leader:
                yield from self._forking.begin_startups(generation, now)
            yield from self._starting.promote_if_complete(generation, now)

    def _begin(self, generation: Generation, child: Child, now: float) -> Steps:
        """It is ready in a generation that serves."""
        yield from self._starting.let_serve(generation, child)
        yield from self._take_over(generation, child, now)
        yield from self._end_replacement(generation, child)

    def _take_over(self, generation: Generation, child: Child, now: float) -> Steps:
        """A process that was started to replace another takes its slot, and the other one drains."""
        if generation.incoming.get(child.key) is child:
            worn_out = generation.worn_out.get(child.key)
            old = generation.retire(child.key)
            generation.give_slot(child)
            if worn_out is not None:
                yield Recycled(worn_out.reason)
            if old is not None:
                yield from self._ending.drain_child(old, now, adopt=True)

    def _end_replacement(
        self, generation: Generation, child: Child, error: str = "", traceback: str = ""
    ) -> Steps:
        """End the operation that waits for this process, if there is one."""
        if operation := generation.replacement_of(child):
            del generation.replacing[child.key]
            yield from ended(operation, error, traceback)

    def failed(self, identity: Identity, stage: str, message: str, traceback: str, now: float) -> Steps:
        """The child says that the application could not be started. Its exit follows."""
        child = self._state.find(identity)
        if child is None or child.state not in (*NOT_SERVING, ChildState.KILLED):
            return  # if it was about to be killed for being late, its own reason is the better one
        generation = self._state.generations[identity.generation]
        if generation.state is Gen.STARTING:
            yield from self._starting.fail(generation, message, traceback, now)
        else:
            details = {"process": identity.name, "stage": stage, **failure(message, traceback)}
            is_told = self._state.development and generation.state is not Gen.SERVING  # of another process
            told = [LogLine("info" if is_told else "error", "application failed to start", details)]
            yield from part_of(generation.replacement_of(child), told)
            yield from self._end_replacement(generation, child, message, traceback)

    def silent(self, identity: Identity, now: float) -> None:
        """Its control channel has ended, but the process has not. Without the channel it can't be controlled."""
        child = self._state.find(identity)
        if child is not None and child.state in (ChildState.STARTING, ChildState.READY, ChildState.SERVING):
            child.must_end_by(
                now + SILENCE_TIMEOUT, DeathReason.CONTROL_LOST, "it closed its control channel"
            )

    def hung(self, identity: Identity, why: str, now: float) -> Steps:
        """It hangs: it doesn't serve and doesn't react to commands. Another process takes its slot when it has
        ended."""
        child = self._state.find(identity)
        if child is not None and child.state is ChildState.SERVING:
            yield from self._ending.kill(child, DeathReason.HUNG, why, now)

    def exited(self, identity: Identity, reason: str, now: float, pid: int = 0) -> Steps:
        """The process has ended, or was never forked."""
        child = self._state.find(identity)
        if child is None:
            return
        generation = self._state.generations[identity.generation]
        yield from self._end_replacement(generation, child, f"the new {identity.name} {reason}")
        if generation.incoming.get(child.key) is child:
            self._forking.try_later(generation, child.key, now)
        retired = generation.children.get(child.key) is not child
        generation.forget(child)
        if retired or generation.state is Gen.DRAINING:
            number = identity.generation
            details = {"process": identity.name, "generation": number, "child": pid, "reason": reason}
            yield ProcessGone("info", "process ended", details, pid, reason, expected=True)
            yield from self._ending.after_exit(generation, now)
            yield from self._forking.recycle_next(generation, now)
        elif generation.state is Gen.STARTING:
            yield from self._starting.fail(generation, f"{identity.name} {reason} while starting", "", now)
        else:
            yield from self._forking.replace_dead(generation, child, reason, now, pid)

    def overdue(self, child: Child, now: float) -> Steps:
        """Its deadline has passed."""
        if child.state is ChildState.KILLED:
            yield from self.exited(child.identity, f"did not end within {KILL_TIMEOUT:g} s of SIGKILL", now)
        else:
            yield from self._ending.kill_late(child, now)
