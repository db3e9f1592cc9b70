"""A plan that is driven by hand, for its tests."""

from collections.abc import Iterable
from dataclasses import replace as changed
from typing import Any

import msgspec

from hsrv.common.terms import Identity
from hsrv.supervisor.plan.actions import (
    Action,
    Dismiss,
    Drain,
    ForkChild,
    Kill,
    Line,
    OperationEnded,
    OperationStep,
    Serve,
)
from hsrv.supervisor.plan.fleet import Budgets
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.settings import Settings

BUDGETS = Budgets(
    startup=120.0, graceful=30.0, stream_grace=10.0, lifespan_shutdown=10.0, drain_delay=0.0, handoff=5.0
)
WORKER_DRAIN = 43.0
DISMISSAL = 13.0


def drain(identity: Identity, *, adopt: bool) -> Drain:
    return Drain(identity, adopt, BUDGETS.graceful, BUDGETS.stream_grace)


class Fleet:
    """A plan, its clock, and what it wanted so far."""

    def __init__(
        self,
        workers: int = 2,
        pools: int = 1,
        *,
        development: bool = False,
        leader_first: bool = False,
        stop_budgets: Budgets | None = None,
        max_draining: int = 4,
        **budgets: float,
    ) -> None:
        usual = changed(BUDGETS, **budgets)
        self.settings = Settings(
            budgets=usual,
            stop_budgets=stop_budgets or usual,
            workers=workers,
            pools=pools,
            max_draining=max_draining,
            leader_first=leader_first,
        )
        self.plan = Plan(self.settings, development=development)
        self.now = 1000.0
        self.names: dict[tuple[int, str], Identity] = {}
        """Of the latest process per generation and name."""

    def saw(self, actions: Iterable[Action]) -> list[Action]:
        """Everything but the log lines, whatever it is part of."""
        self.seen = seen = list(actions)
        for action in seen:
            if isinstance(action, ForkChild):
                identity = action.identity
                self.names[identity.generation, identity.name] = identity
        self.said = [action for action in seen if isinstance(action, Line)]
        self.ended = [action for action in seen if isinstance(action, OperationEnded)]
        told = (Line, OperationStep, OperationEnded)
        return [msgspec.structs.replace(one, operation="") for one in seen if not isinstance(one, told)]

    def who(self, name: str, generation: int = 1) -> Identity:
        return self.names[generation, name]

    def start(self, operation: str = "") -> list[Action]:
        return self.saw(self.plan.start(self.now, operation))

    def replace(self, slot: int, operation: str = "op") -> list[Action]:
        return self.saw(self.plan.replace(slot, operation, self.now))

    def template_ready(self, generation: int = 1) -> list[Action]:
        return self.saw(self.plan.template_ready(generation, self.now))

    def template_gone(self, generation: int = 1, reason: str = "was killed by SIGKILL") -> list[Action]:
        return self.saw(self.plan.template_gone(generation, reason, self.now))

    def ready(self, name: str, generation: int = 1) -> list[Action]:
        identity = self.who(name, generation)
        self.plan.child_forked(identity)
        return self.saw(self.plan.child_ready(identity, self.now))

    def exited(self, name: str, generation: int = 1, reason: str = "exited with code 0") -> list[Action]:
        return self.saw(self.plan.child_exited(self.who(name, generation), reason, self.now))

    def failed(self, name: str, generation: int = 1) -> list[Action]:
        identity = self.who(name, generation)
        return self.saw(self.plan.child_failed(identity, "lifespan", "no database", "Traceback", self.now))

    def stop(self) -> list[Action]:
        return self.saw(self.plan.stop(self.now))

    def stop_now(self) -> list[Action]:
        return self.saw(self.plan.stop_now("QUIT", self.now))

    def configure(self, **settings: Any) -> list[Action]:
        self.settings = changed(self.settings, **settings)
        return self.saw(self.plan.configure(self.settings, self.now))

    def scale(self, step: int) -> list[Action]:
        return self.saw(self.plan.scale(self.plan.workers + step, self.now))

    def tick(self, seconds: float = 0.0) -> list[Action]:
        self.now += seconds
        return self.saw(self.plan.tick(self.now))

    def next_in(self) -> float:
        return self.plan.next_at() - self.now

    def serve(self, generation: int = 1) -> list[Action]:
        """Bring a generation up; the actions of the last step."""
        self.start()
        self.template_ready(generation)
        return [self.ready(name, generation) for name in self.all_names()][-1]

    def all_names(self) -> list[str]:
        pools = [f"pool-{n + 1}" for n in range(self.plan.pools)]
        return pools + [f"worker-{n + 1}" for n in range(self.plan.workers)]

    def end(self, generation: int = 1) -> list[Action]:
        """Everyone of a generation exits; all actions."""
        everyone = self.plan.generations[generation].everyone()
        return [
            action
            for child in everyone
            for action in self.saw(self.plan.child_exited(child.identity, "exited with code 0", self.now))
        ]


def kinds(actions: Iterable[Action]) -> list[type[Action]]:
    return [type(action) for action in actions]


def roles(actions: Iterable[Action]) -> list[str]:
    return [
        action.identity.name for action in actions if isinstance(action, ForkChild | Serve | Kill | Drain)
    ]


def names(actions: list[Action], kind: type[Drain] | type[Kill] | type[Dismiss]) -> list[tuple[int, str]]:
    return [(a.identity.generation, a.identity.name) for a in actions if isinstance(a, kind)]
