"""A supervisor in memory: the real plan, loop, reports and reloads; processes that are none, and a clock of its own."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

from structlog.contextvars import get_contextvars

from hsrv.common.terms import Identity
from hsrv.options.config import Config
from hsrv.supervisor.operators.reloads import Reloads
from hsrv.supervisor.plan import actions
from hsrv.supervisor.plan.actions import Action, Line, Report
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.settings import settings_of
from hsrv.supervisor.plan.state import ServerPhase
from hsrv.supervisor.reports.listeners import ServerReports
from hsrv.supervisor.runtime.configuration import Configuration
from hsrv.supervisor.runtime.loop import Hands, Loop
from hsrv.supervisor.runtime.reports import ProcessStarted

IMPORT = 1.0
"""Seconds for a template to be ready."""

STARTUP = 1.0
"""Seconds for a process to be ready."""

DRAIN = 2.0
"""Seconds for a process to end that is told to."""

CONFIG = Config(app="a:b", workers=2, pools=1, startup_timeout=60, drain_delay=0)


class FakeHands(Hands):
    """Processes that do what they are told after a while; each time it is told what happened."""

    def __init__(self, server: "InMemory") -> None:
        self._server = server
        self._pids = count(100)
        self.pids: dict[int, tuple[Identity, int]] = {}
        """By id() of the identity: those that live."""
        self.templates: set[int] = set()
        """Generations whose template lives."""
        self.broken = False
        """The application can't be imported."""
        self.crashes = False
        """A process ends while it starts."""
        self.hangs = False
        """A process that is told to end does not."""
        self.operations: list[tuple[str, str, int]] = []
        """What was started: what, for which operation, for which generation."""
        self.listens = True

    def perform(self, action: Action) -> None:
        assert get_contextvars().get("reload_id", "") == action.operation, "the log says of which it is part"
        if isinstance(action, actions.SpawnTemplate):
            self._note("template", action.generation)
            self.templates.add(action.generation)
            self._server.later(IMPORT, lambda: self._imported(action.generation))
        elif isinstance(action, actions.QuitTemplate | actions.KillTemplate):
            self.templates.discard(action.generation)
        elif isinstance(action, actions.ForkChild):
            self._note(action.identity.name, action.identity.generation)
            self._fork(action.identity)
        elif isinstance(action, actions.StopListening):
            self.listens = False
        elif isinstance(action, actions.Kill):
            self._server.later(0.0, lambda: self.ends(action.identity, "was killed by SIGKILL"))
        elif isinstance(action, actions.Drain | actions.Dismiss) and not self.hangs:
            self._server.later(DRAIN, lambda: self.ends(action.identity, "exited with code 0"))

    def _note(self, what: str, generation: int) -> None:
        self.operations.append((what, get_contextvars().get("reload_id", ""), generation))

    def _imported(self, number: int) -> None:
        plan, now = self._server.plan, self._server.now
        if number in self.templates:
            failed = plan.template_failed(number, "no module", "Traceback", now) if self.broken else None
            self._server.loop.perform(failed if failed is not None else plan.template_ready(number, now))

    def _fork(self, identity: Identity) -> None:
        self.pids[id(identity)] = identity, next(self._pids)
        self._server.loop.tell(ProcessStarted(identity, self.pids[id(identity)][1]))
        self._server.loop.perform(self._server.plan.child_forked(identity))
        what = (lambda: self.ends(identity, "exited with code 3")) if self.crashes else None
        self._server.later(STARTUP, what or (lambda: self._ready(identity)))

    def _ready(self, identity: Identity) -> None:
        if id(identity) in self.pids:
            self._server.loop.perform(self._server.plan.child_ready(identity, self._server.now))

    def ends(self, identity: Identity, how: str) -> None:
        _, pid = self.pids.pop(id(identity), (identity, 0))
        if pid:
            server = self._server
            server.loop.perform(server.plan.child_exited(identity, how, server.now, pid=pid))


class InMemory:
    """One server."""

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.config = CONFIG if not options else Config(**{**_fields(CONFIG), **options})
        self.plan = Plan(settings_of(self.config))
        self.told = ServerReports()
        self.reports: list[Report] = []
        self.told.stream.listen(self.reports.append)
        self.loop = Loop(self.plan, self.told.stream.tell, lambda: self.now)
        self.hands = FakeHands(self)
        self.loop.hands = self.hands
        self.wanted = self.config
        """What a reload reads."""
        self.configuration = Configuration(self.config, lambda: self.wanted)
        self.upgrading = ""
        self.reloads = Reloads(self.loop, self.configuration, lambda level: None, lambda: self.upgrading)

    # time

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), what))

    def run(self, seconds: float) -> None:
        """So much time goes by, or less if everything is over."""
        end = self.now + seconds
        while self.loop.exit is None:
            event = self._due[0][0] if self._due else end + 1
            tick = self.plan.next_at()
            if min(event, tick) > end:
                break
            self.now = max(self.now, min(event, tick))
            if event <= tick:
                heapq.heappop(self._due)[2]()
            else:
                self.loop.tick()
        self.now = max(self.now, end)

    # what is asked of it

    def start(self) -> "InMemory":
        self.loop.perform(self.plan.start(self.now))
        return self

    def serve(self) -> "InMemory":
        self.start().run(IMPORT + STARTUP)
        assert self.serving() == 1
        return self

    def reload(self, operation: str) -> None:
        self.reloads.begin(operation)

    def stop(self) -> None:
        self.loop.perform(self.plan.stop(self.now))

    # how it is

    def serving(self) -> int:
        generation = self.plan.serving()
        return generation.number if generation is not None else 0

    def alive(self) -> list[str]:
        return sorted(f"{one.name}/{one.generation}" for one, _ in self.hands.pids.values())

    def who(self, name: str, generation: int = 1) -> Identity:
        return next(
            one for one, _ in self.hands.pids.values() if (one.name, one.generation) == (name, generation)
        )

    def said(self, event: str) -> list[Line]:
        return [one for one in self.reports if isinstance(one, Line) and one.event == event]

    def ended(self) -> dict[str, str]:
        """The operations that are over, and their errors."""
        over = [one for one in self.reports if isinstance(one, actions.OperationEnded)]
        assert len({one.operation for one in over}) == len(over), "each ends once"
        return {one.operation: one.error for one in over}

    def check_over(self) -> None:
        """Nothing is left behind."""
        assert self.loop.exit is not None
        assert self.plan.phase is ServerPhase.OVER
        assert self.alive() == []
        assert not self.hands.templates


def _fields(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__struct_fields__}
