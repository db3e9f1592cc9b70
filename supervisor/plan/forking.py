"""Which processes are forked, and when: for empty slots, dead processes and those to be recycled, and the template for
it. Pure, and part of the plan.

Promises: the replacement of a process that dies soon after its start is delayed more and more; processes are recycled
one at a time, the new one first; every start ends within a bound.
"""

from dataclasses import replace
from math import inf

from hsrv.common.terms import Identity, Role
from hsrv.supervisor.plan.actions import (
    BeginStartup,
    ForkChild,
    KillTemplate,
    LogLine,
    PoolAvailable,
    ProcessGone,
    SpawnTemplate,
    Steps,
    part_of,
    step,
)
from hsrv.supervisor.plan.fleet import (
    LEADER,
    Child,
    ChildState,
    Gen,
    Generation,
    Key,
    RecycleReason,
    TemplateState,
)
from hsrv.supervisor.plan.state import ServerPhase, State


class Forking:
    """Starts of templates and processes."""

    def __init__(self, state: State) -> None:
        self._state = state

    # templates

    def spawn_template(self, generation: Generation, now: float) -> Steps:
        generation.template = TemplateState.STARTING
        generation.template_at = now + self._state.budgets.startup
        yield SpawnTemplate(generation.number, generation.preload)

    def template_ready(self, generation: Generation, now: float) -> Steps:
        generation.template = TemplateState.READY
        generation.template_at = inf
        if generation.state is Gen.STARTING:
            generation.due = dict.fromkeys(self._state.wanted(), now)
            yield from step(generation.operation, "template ready")
        yield from self.fork_due(generation, now)
        yield from self.recycle_next(generation, now)

    def lose_template(
        self, generation: Generation, event: str, details: dict[str, object], now: float
    ) -> Steps:
        generation.template = TemplateState.GONE
        generation.template_at = inf
        if generation.state is Gen.SERVING:
            delay = generation.backoff(None).delay(now)
            generation.template_at = now + delay
            yield LogLine("error", event, {"generation": generation.number, "delay": delay, **details})

    def _template_due(self, generation: Generation, now: float) -> Steps:
        if generation.template is TemplateState.GONE:
            yield from self.spawn_template(generation, now)
        else:
            generation.template_at = inf
            why = f"not ready after {self._state.budgets.startup:g} s (--startup-timeout)"
            yield KillTemplate(generation.number, why)

    # empty slots

    def fork_due(self, generation: Generation, now: float) -> Steps:
        if generation.template is not TemplateState.READY:
            return
        for key in [key for key, at in generation.due.items() if at <= now]:
            del generation.due[key]
            child = generation.children[key] = self._new_child(generation, key, now)
            yield ForkChild(child.identity, generation.broken, child.waits)

    def _new_child(self, generation: Generation, key: Key, now: float) -> Child:
        role, slot = key
        identity = Identity(role, slot, generation.number, leader=key == LEADER)
        startup = self._state.budgets.startup
        why = f"not ready after {startup:g} s (--startup-timeout)"
        waits = self._state.settings.leader_first and generation.waits_for_leader(key)
        return Child(identity, ChildState.FORKING, inf if waits else now + startup, why, waits=waits)

    def begin_startups(self, generation: Generation, now: float) -> Steps:
        """The leader is ready: processes that waited for it have the whole startup budget from now on."""
        for child in generation.everyone():
            if child.waits and child.state in (ChildState.FORKING, ChildState.STARTING):
                child.waits = False
                child.deadline = now + self._state.budgets.startup
                yield BeginStartup(child.identity)

    def replace_dead(self, generation: Generation, child: Child, reason: str, now: float, pid: int) -> Steps:
        backoff = generation.backoff(child.key)
        delay = backoff.delay(now)
        incoming = generation.incoming.get(child.key)
        if incoming is None:
            generation.due[child.key] = now + delay
        else:  # its replacement starts already
            generation.give_slot(incoming)
        name = child.identity.name
        details: dict[str, object] = {"process": name, "child": pid, "reason": reason, "delay": delay}
        if backoff.deaths > 2:
            details["deaths"] = backoff.deaths
        yield ProcessGone("error", "process died", details, pid, reason)
        pool_lost = child.identity.role is Role.POOL and not generation.has(Role.POOL, ChildState.SERVING)
        if pool_lost and generation.pool_lost_at is None:
            generation.pool_lost_at = now
        yield from self.fork_due(generation, now)

    # replacements

    def replace_serving(self, generation: Generation, key: Key, operation: str, now: float) -> Steps:
        """Start a new process for the slot, which takes it over when it is ready."""
        child = self._new_child(generation, key, now)
        generation.take_in(child, operation)
        yield from step(operation, f"a new {child.identity.name} starts")
        yield from part_of(operation, [ForkChild(child.identity, generation.broken)])

    def recycle(self, identity: Identity, reason: str, why: str, now: float) -> Steps:
        """Replace a process, in the order of requests, by one that serves first."""
        child, generation = self._state.find(identity), self._state.generations.get(identity.generation)
        if child is None or generation is None or child.state is not ChildState.SERVING:
            return
        if generation.state is Gen.SERVING and self._state.phase is ServerPhase.RUNNING:
            generation.worn_out.setdefault(child.key, RecycleReason(reason, why, now))
            yield from self.recycle_next(generation, now)

    def recycle_next(self, generation: Generation, now: float) -> Steps:
        if now < self._recycle_at(generation):
            return
        key = next(key for key, one in generation.to_recycle().items() if one.at <= now)
        fresh = self._new_child(generation, key, now)
        why = generation.worn_out[key].why
        yield LogLine("info", "recycling", {"process": fresh.identity.name, "why": why})
        generation.take_in(fresh)
        yield ForkChild(fresh.identity, generation.broken)

    def _recycle_at(self, generation: Generation) -> float:
        """When the next replacement may begin, in the present state."""
        begins = generation.template is TemplateState.READY and not generation.incoming
        if self._state.phase is not ServerPhase.RUNNING or generation.state is not Gen.SERVING or not begins:
            return inf
        return min((one.at for one in generation.to_recycle().values()), default=inf)

    def try_later(self, generation: Generation, key: Key, now: float) -> None:
        """A replacement has failed: others come first, and each further failure makes the delay longer."""
        delay = generation.backoff(key).delay(now)
        worn_out = generation.worn_out.pop(key, None)
        if worn_out is not None:
            generation.worn_out[key] = replace(worn_out, at=now + delay)

    # time

    def next_at(self, generation: Generation) -> float:
        """When `tick` has something to do."""
        times = [generation.template_at, generation.pool_report_at() + self._state.budgets.handoff]
        if generation.template is TemplateState.READY:
            times += generation.due.values()
        return min(*times, self._recycle_at(generation))

    def tick(self, generation: Generation, now: float) -> Steps:
        yield from self.fork_due(generation, now)
        yield from self.recycle_next(generation, now)
        if now >= generation.template_at:
            yield from self._template_due(generation, now)
        if now >= generation.pool_report_at() + self._state.budgets.handoff:
            generation.pool_lost_told = True
            yield PoolAvailable(generation.number, available=False)
