"""What a worker or pool starts with, and the interface of what it runs. `hsrv.child.template` creates the
former, `hsrv.child.life` uses the latter.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from hsrv.app.apploader import LoadedApp
from hsrv.board.census import Census
from hsrv.board.lasttaken import LastTaken
from hsrv.board.layout import Occupant
from hsrv.board.scoreboard import Scoreboard
from hsrv.common.asgi import Application
from hsrv.common.terms import Identity, Interface
from hsrv.events.collectors import Collectors
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import Failure, ListenerInfo
from hsrv.options.config import Config
from hsrv.rpc.methods import ChildReport, DrainParams


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildBoot:
    """Everything a worker or pool starts with. All descriptors are inherited from the template."""

    identity: Identity
    config: Config
    app: LoadedApp | None
    """None when the template did not import it."""
    control: socket.socket
    board: Scoreboard
    log_context: dict[str, str]
    """Added to the log lines about the start: the id of the reload it belongs to."""
    broken: Failure | None = None
    """Why the application can't be loaded: an error page is served instead."""
    waits: bool = False
    """Until the leader's lifespan startup is complete, before its own begins."""
    handoff_send: Channel
    handoff_receive: Channel
    adopt_send: Channel
    adopt_receive: Channel
    listeners: list[tuple[ListenerInfo, socket.socket]]
    last_taken: LastTaken = field(default_factory=LastTaken)
    """Shared by the workers and pools of a template."""
    census: Census | None = None
    collectors: Collectors | None = None
    """Receive lifecycle events; created when the application is loaded."""

    @property
    def application(self) -> Application:
        assert self.app is not None, "run_child loads it first"
        return self.app.app

    @property
    def interface(self) -> Interface:
        """How the application is called."""
        assert self.app is not None, "run_child loads it first"
        return self.app.interface


class Service(Protocol):
    """The part of a role between "serve" and its end: a `Worker` or an `AsyncPool`."""

    def set_lifespan_state(self, state: dict[str, Any]) -> None: ...
    def run(self) -> Coroutine[Any, Any, None]: ...
    def announce_close(self) -> None: ...
    def begin_drain(self, drain: DrainParams) -> None: ...
    def finish(self) -> None: ...
    def learned(self, patterns: list[str], plain: list[str]) -> None: ...
    def pool_available(self, available: bool) -> None: ...
    def report(self) -> ChildReport: ...
    def occupant(self, task: asyncio.Task[Any] | None) -> Occupant | None:
        """The request that this task serves; with None, the one that runs in no task. Called from another thread, while
        the loop is blocked."""
        ...

    def rescue(self) -> None:
        """Give away connections that can't be served while the loop is blocked. Called from another thread."""
        ...

    on_worn_out: Callable[[str, str], None]
    """Called when the process should be replaced: with the reason as one word, and as text."""


Learn = Callable[[str, bool], None]
"""Reports a path pattern to the supervisor, and through it to every worker: whether its responses are streams."""

MakeService = Callable[[ChildBoot, asyncio.AbstractEventLoop, Learn], Service]
