"""What the plan knows: the phase of the server, its generations, what is wanted. Pure data, changed by the plan alone.

`View` is what everybody else sees of it.
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
    """Of the whole server."""

    RUNNING = auto()
    DELAYING = auto()
    """Told to stop, still accepting (--drain-delay)."""
    STOPPING = auto()
    OVER = auto()


class State:
    """Of one server."""

    def __init__(self, settings: Settings, *, development: bool = False) -> None:
        """`development`: new code is wanted at once, and what is broken is shown instead of not served
        (`hsrv.supervisor.develop.development`)."""
        self.settings = settings
        """As configured."""
        self.development = development
        self.workers = settings.workers
        """As wanted: an operator may have scaled."""
        self.phase = ServerPhase.RUNNING
        self.generations: dict[int, Generation] = {}
        self.exit_code = ExitCode.OK
        self.failure = ""
        """Why the server ends with `ExitCode.APP`."""
        self.delay_end = inf
        """DELAYING: when it is over."""
        self.last_number = 0
        """Of generations. A server that takes over goes on counting from the old one's."""
        self.queued_reload: str | None = None
        """The id of the reload that begins when the one in progress is over."""
        self.has_served = False
        """A generation has, whatever came then."""
        self.held = False
        """The operator wants no readiness (`hsrv drain`)."""

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
    """The plan as others read it."""

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
        """How many are wanted."""
        return self._state.workers

    @property
    def pools(self) -> int:
        return self._state.settings.pools

    @property
    def held(self) -> bool:
        """The operator wants no readiness."""
        return self._state.held

    @property
    def has_served(self) -> bool:
        """A generation has, whatever came then."""
        return self._state.has_served

    @property
    def queued_reload(self) -> str | None:
        """The id of the reload that begins when the one in progress is over."""
        return self._state.queued_reload

    @property
    def last_number(self) -> int:
        """Of generations."""
        return self._state.last_number

    @property
    def exit_code(self) -> ExitCode:
        return self._state.exit_code

    def serving(self) -> Generation | None:
        """The generation that serves."""
        return self._state.serving()

    def lacks_worker(self) -> bool:
        """Whether connections are to be accepted, and nobody does."""
        serving = self.serving()
        return serving is not None and not serving.has(Role.WORKER, ChildState.SERVING)

    def find(self, identity: Identity) -> Child | None:
        return self._state.find(identity)
