"""Whether there are enough processes; scaling, and replacement by request. Pure, and part of the plan.

Promises: the new process serves before the old one drains, and draining workers pass their idle connections to others;
so neither a scale-down nor a replacement loses a request.
"""

from hsrv.common.terms import Role
from hsrv.supervisor.plan.actions import LogLine, Steps, ended, part_of
from hsrv.supervisor.plan.ending import Ending
from hsrv.supervisor.plan.fleet import ChildState, Gen, Generation, Key, TemplateState
from hsrv.supervisor.plan.forking import Forking
from hsrv.supervisor.plan.starting import Starting
from hsrv.supervisor.plan.state import ServerPhase, State, View


def not_ready(plan: View) -> str:
    """Why the server is not ready for traffic; "" if it is."""
    if plan.phase is not ServerPhase.RUNNING:
        return "stopping"
    serving = plan.serving()
    if serving is None:
        return "starting"
    if plan.held:
        return "drained by the operator"
    return missing(serving)


def missing(serving: Generation) -> str:
    """Which role has no process that serves, in words; "" if none."""
    for role in (Role.WORKER, Role.POOL):
        if not serving.has(role, ChildState.SERVING):
            return f"no {role} serves"
    return ""


class Capacity:
    """The number of processes of one server."""

    def __init__(self, state: State, ending: Ending, forking: Forking, starting: Starting) -> None:
        self._state = state
        self._ending = ending
        self._forking = forking
        self._starting = starting

    def scale(self, workers: int, now: float) -> Steps:
        """Change the number of workers, at least one."""
        state = self._state
        if state.phase is not ServerPhase.RUNNING or workers < 1:
            why = "one worker is the least" if state.phase is ServerPhase.RUNNING else "the server stops"
            yield LogLine("warning", "not scaled", {"why": why})
            return
        before, state.workers = state.workers, workers
        if before != workers:
            yield LogLine("info", "scaled", {"workers": workers})
        for generation in list(state.generations.values()):
            if generation.state is not Gen.DRAINING:
                yield from part_of(generation.operation, self._resize(generation, before, now))

    def _resize(self, generation: Generation, before: int, now: float) -> Steps:
        workers = self._state.workers
        for slot in range(before + 1, workers + 1):
            generation.due[Role.WORKER, slot] = now
        yield from self._forking.fork_due(generation, now)
        for slot in range(before, workers, -1):
            yield from self._retire(generation, (Role.WORKER, slot), now)
        yield from self._starting.promote_if_complete(
            generation, now
        )  # it may have been the only one missing

    def _retire(self, generation: Generation, key: Key, now: float) -> Steps:
        yield from ended(generation.replacing.pop(key, ""), "the slot was given up")
        incoming = generation.incoming.get(key)
        if incoming is not None:
            del generation.incoming[key]
            yield from self._ending.drain_child(incoming, now, adopt=True)
        child = generation.retire(key)
        if child is not None:
            yield from self._ending.drain_child(child, now, adopt=True)

    def replace(self, slot: int, operation: str, now: float) -> Steps:
        """Start a new worker for the slot, and drain the present one when the new one serves."""
        key = (Role.WORKER, slot)
        generation = self._state.serving()
        why = self._why_not(generation, key)
        if why or generation is None:
            yield from ended(operation, why or "no generation serves")
            return
        yield from self._forking.replace_serving(generation, key, operation, now)

    def end_streams(self, now: float) -> Steps:
        """Replace every pool: the old one drains and ends its streams within their grace, while the server keeps
        serving."""
        generation = self._state.serving()
        children = generation.children if generation is not None else {}
        for child in [child for key, child in children.items() if key[0] is Role.POOL]:
            yield from self._forking.recycle(child.identity, "prestop", "its streams are to end", now)

    def _why_not(self, generation: Generation | None, key: Key) -> str:
        if self._state.phase is not ServerPhase.RUNNING:
            return "the server stops"
        if generation is None:
            return "no generation serves"
        if key in generation.incoming:
            return f"worker-{key[1]} is being replaced already"
        child = generation.children.get(key)
        if child is None or child.state is not ChildState.SERVING:
            return f"there is no worker-{key[1]} that serves"
        if generation.template is not TemplateState.READY:
            return "the template is being restarted"
        return ""
