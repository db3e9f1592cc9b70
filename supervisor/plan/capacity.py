"""Whether there are enough processes, how many workers, and which of them makes room for a fresh one. Pure, like the
plan it belongs to.

Promises: the new process serves before the old one drains, and what drains gives its idle connections to the others;
so neither a scale-down nor a replacement loses a request.
"""

from hsrv.common.terms import Role
from hsrv.supervisor.plan.actions import Actions, ForkChild, OperationEnded, OperationStep, Say
from hsrv.supervisor.plan.fleet import ChildState, Gen, Generation, Key, TemplateState
from hsrv.supervisor.plan.plan import Phase, Plan


def not_ready(plan: Plan) -> str:
    """Why no traffic should come, or "" when it may."""
    if plan.phase is not Phase.RUNNING:
        return "stopping"
    serving = plan.serving()
    if serving is None:
        return "starting"
    if plan.held:
        return "drained by the operator"
    return missing(serving)


def missing(serving: Generation) -> str:
    """Which role has no process that serves, in words, or ""."""
    for role in (Role.WORKER, Role.POOL):
        if not serving.has(role, ChildState.SERVING):
            return f"no {role} serves"
    return ""


def scale(plan: Plan, workers: int, now: float) -> Actions:
    """From now on this many workers, at least one."""
    if plan.phase is not Phase.RUNNING or workers < 1:
        why = "one worker is the least" if plan.phase is Phase.RUNNING else "the server stops"
        yield Say("warning", "not scaled", {"why": why})
        return
    before, plan.workers = plan.workers, workers
    if before != workers:
        yield Say("info", "scaled", {"workers": workers})
    for generation in list(plan.generations.values()):
        if generation.state is not Gen.DRAINING:
            for slot in range(before + 1, workers + 1):
                generation.due[Role.WORKER, slot] = now
            yield from plan.fork_due(generation, now)
            for slot in range(before, workers, -1):
                yield from _retire(plan, generation, (Role.WORKER, slot), now)
            yield from plan.promote_if_complete(generation, now)  # it may have been the only one missing


def _retire(plan: Plan, generation: Generation, key: Key, now: float) -> Actions:
    if (operation := generation.operations.pop(key, None)) is not None:
        yield OperationEnded(operation, "the slot was given up")
    incoming = generation.incoming.get(key)
    if incoming is not None:
        del generation.incoming[key]
        yield from plan.drain_child(incoming, now, adopt=True)
    child = generation.retire(key)
    if child is not None:
        yield from plan.drain_child(child, now, adopt=True)


def replace(plan: Plan, slot: int, operation: str, now: float) -> Actions:
    """Start a fresh worker for the slot, and drain the present one when the fresh one serves."""
    key = (Role.WORKER, slot)
    generation = plan.serving()
    why = _why_not(plan, generation, key)
    if why or generation is None:
        yield OperationEnded(operation, why or "no generation serves")
        return
    child = plan.new_child(generation, key, now)
    generation.take_in(child, operation)
    yield OperationStep(operation, f"a new {child.identity.name} starts")
    yield ForkChild(child.identity)


def end_streams(plan: Plan, now: float) -> Actions:
    """Replace every pool: the one that drains ends its streams within their grace, and the server goes on serving."""
    generation = plan.serving()
    pools = [child for key, child in generation.children.items() if key[0] is Role.POOL] if generation else []
    for child in pools:
        yield from plan.recycle(child.identity, "prestop", "its streams are to end", now)


def _why_not(plan: Plan, generation: Generation | None, key: Key) -> str:
    if plan.phase is not Phase.RUNNING:
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
