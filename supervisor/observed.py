"""The supervisor with collectors (`--supervisor-collector`): the same, and it tells them of processes and reloads.

Promise: every process that was started ends in exactly one event. Must not import anything of the application: what
the operator names for the supervisor must be installed beside it.
"""

import os
import time
from typing import Any

from hsrv.common.errors import AppLoadError, ConfigError, ExitCode
from hsrv.common.terms import Role
from hsrv.events.collectors import Collectors, load, make
from hsrv.events.types import (
    Event,
    GenerationServes,
    ReloadFinished,
    ReloadStarted,
    ServerStopping,
    Source,
    WorkerDied,
    WorkerEnded,
    WorkerReady,
    WorkerStarted,
)
from hsrv.ipc.messages import Forked
from hsrv.options.config import Config
from hsrv.rpc import methods
from hsrv.supervisor.plan import actions
from hsrv.supervisor.plan.plan import Phase
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.supervisor import Supervisor


def collectors_of(config: Config) -> Collectors | None:
    """Those of the supervisor. Raises ConfigError."""
    source = Source(Role.SUPERVISOR, 0, 0, os.getpid())
    try:
        return make(source, [(text, load(text)) for text in config.supervisor_collector])
    except AppLoadError as error:
        raise ConfigError(f"--supervisor-collector: {error}") from error


class ObservedSupervisor(Supervisor):
    """A supervisor that tells."""

    def __init__(self, collectors: Collectors, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._collectors = collectors
        self._alive: dict[int, Source] = {}
        """By pid: processes whose end was not told."""

    async def run(self) -> ExitCode:
        try:
            return await super().run()
        finally:
            self._collectors.close()

    def _forked(self, message: Forked) -> None:
        super()._forked(message)
        if message.pid in self.children:
            identity = message.identity
            source = Source(identity.role, identity.slot, identity.generation, message.pid)
            self._alive[message.pid] = source
            self._tell(WorkerStarted, process=source)

    def _on_ready(self, child: ChildHandle, params: methods.ReadyParams) -> None:
        if child.pid in self._alive:
            self._tell(WorkerReady, process=self._alive[child.pid])
        super()._on_ready(child, params)

    async def _hear_child(self, child: ChildHandle) -> None:
        await super()._hear_child(child)
        self._ended(WorkerDied, child.pid, child.death)  # unless the plan has said so

    def _ended(self, kind: type[WorkerDied] | type[WorkerEnded], pid: int, reason: str) -> None:
        source = self._alive.pop(pid, None)
        if source is not None:
            self._tell(kind, process=source, reason=reason)

    def _tell_people(self, action: Any) -> None:
        super()._tell_people(action)
        if isinstance(action, actions.Say):
            self._said(action.event, action.details)

    def _said(self, event: str, details: dict[str, Any]) -> None:
        if event in ("process died", "process ended"):
            kind = WorkerDied if event == "process died" else WorkerEnded
            self._ended(kind, details["child"], str(details["reason"]))
        elif event == "stopping":
            self._tell(ServerStopping)

    def _act(self, action: actions.Action) -> None:
        super()._act(action)
        if isinstance(action, actions.Announce):
            self._tell(GenerationServes, generation=action.generation)

    def reload(self, reload_id: str) -> None:
        if self.plan.phase is Phase.RUNNING and reload_id not in self._reloads:
            self._tell(ReloadStarted, reload=reload_id)
        super().reload(reload_id)

    def _end_operation(self, operation: str, error: str, traceback: str) -> None:
        if operation in self._reloads:
            self._tell(ReloadFinished, reload=operation, error=error)
        super()._end_operation(operation, error, traceback)

    def _tell(self, kind: type[Event], **fields: Any) -> None:
        collectors = self._collectors
        collectors.emit(kind(time.time(), time.monotonic(), collectors.source, **fields))
