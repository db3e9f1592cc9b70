"""The plan's state: the phase of the server, its generations, the wanted numbers. Pure data, changed only by the plan.

`View` is read-only access for everybody else.
"""

from collections.abc import Mapping
from enum import Enum, auto
from math import inf
from typing import Final

from hsrv.common.errors import ExitCode
from hsrv.common.terms import Identity, Role
from hsrv.supervisor.plan.fleet import Budgets, Child, ChildState, Gen, Generation, Key
from hsrv.supervisor.plan.settings import Settings

NOT_SERVING: Final = (ChildState.FORKING, ChildState.STARTING, ChildState.READY)


class ServerPhase(Enum):
    """Phase of the whole server."""

    RUNNING = auto()
    DELAYING = auto()
    """A stop was requested, the server still accepts (--drain-delay)."""
    STOPPING = auto()
    OVER = auto()


class State:
    """The state of one server."""

    def __init__(self, settings: Settings, *, development: bool = False) -> None:
        """`development`: new code is served at once, and broken code is shown on a page instead of not being served
        (`hsrv.supervisor.develop.development`)."""
        self.settings = settings
        """As configured."""
        self.development = development
        self.workers = settings.workers
        """Wanted number: an operator may have scaled."""
        self.phase = ServerPhase.RUNNING
        self.generations: dict[int, Generation] = {}
        self.exit_code = ExitCode.OK
        self.failure = ""
        """Why the server ends with `ExitCode.APP`."""
        self.delay_end = inf
        """DELAYING: when it ends."""
        self.last_number = 0
        """The last number of a generation. A server that replaces another one continues its numbers."""
        self.queued_reload: str | None = None
        """The id of the reload that begins when the one in progress has ended."""
        self.has_served = False
        """A generation has served, whatever happened later."""
        self.held = False
        """An operator wants the server to be not ready (`hsrv drain`)."""

    @property
    def budgets(self) -> Budgets:
        return self.settings.budgets

    def serving(self) -> Generation | None:
        """The generation that serves."""
        return self.first(Gen.SERVING)

    def first(self, state: Gen) -> Generation | None:
        return next((g for g in self.generations.values() if g.state is state), None)

    def wanted(self) -> list[Key]:
        """Pools first: they are ready to receive before any worker hands over."""
        return [(Role.POOL, n + 1) for n in range(self.settings.pools)] + [
            (Role.WORKER, n + 1) for n in range(self.workers)
        ]

    def find(self, identity: Identity) -> Child | None:
        generation = self.generations.get(identity.generation)
        everyone = generation.everyone() if generation is not None else []
        return next((child for child in everyone if child.identity is identity), None)


class View:
    """Read-only view of the plan."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def phase(self) -> ServerPhase:
        return self._state.phase

    @property
    def generations(self) -> Mapping[int, Generation]:
        return self._state.generations

    @property
    def settings(self) -> Settings:
        """As configured."""
        return self._state.settings

    @property
    def budgets(self) -> Budgets:
        return self._state.budgets

    @property
    def workers(self) -> int:
        """The wanted number."""
        return self._state.workers

    @property
    def pools(self) -> int:
        return self._state.settings.pools

    @property
    def held(self) -> bool:
        """An operator wants the server to be not ready."""
        return self._state.held

    @property
    def has_served(self) -> bool:
        """A generation has served, whatever happened later."""
        return self._state.has_served

    @property
    def queued_reload(self) -> str | None:
        """The id of the reload that begins when the one in progress has ended."""
        return self._state.queued_reload

    @property
    def last_number(self) -> int:
        """The last number of a generation."""
        return self._state.last_number

    @property
    def exit_code(self) -> ExitCode:
        return self._state.exit_code

    def serving(self) -> Generation | None:
        """The generation that serves."""
        return self._state.serving()

    def lacks_acceptor(self) -> bool:
        """Whether connections should be accepted, and no process does: neither a worker nor a pool serves."""
        serving = self.serving()
        return serving is not None and not any(
            serving.has(role, ChildState.SERVING) for role in (Role.WORKER, Role.POOL)
        )

    def find(self, identity: Identity) -> Child | None:
        return self._state.find(identity)
