"""Events for the collectors of the supervisor (`--supervisor-collector`): of processes and reloads, made from the
reports.

Promise: there is exactly one event for the end of every process that was started. Must not import anything of the
application: collectors of the supervisor must be installed beside it.
"""

import os
import time
from typing import Any

from hsrv.common.errors import AppLoadError, ConfigError
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
from hsrv.options.config import Config
from hsrv.supervisor.plan.actions import Announce, OperationEnded, ProcessGone, Report, Stopping
from hsrv.supervisor.runtime.reports import ProcessReady, ProcessReaped, ProcessStarted, ReloadBegun


def collectors_of(config: Config) -> Collectors | None:
    """The collectors of the supervisor. Raises ConfigError."""
    source = Source(Role.SUPERVISOR, 0, 0, os.getpid())
    try:
        return make(source, [(text, load(text)) for text in config.supervisor_collector])
    except AppLoadError as error:
        raise ConfigError(f"--supervisor-collector: {error}") from error


class Observer:
    """Turns reports into events and passes them to the collectors."""

    def __init__(self, collectors: Collectors) -> None:
        self._collectors = collectors
        self._alive: dict[int, Source] = {}
        """By pid: processes without an event for their end so far."""
        self._reloads: set[str] = set()
        """The ids of reloads in progress."""

    def hear(self, report: Report) -> None:
        if isinstance(report, ProcessStarted | ProcessReady | ProcessGone | ProcessReaped):
            self._hear_of_process(report)
        elif isinstance(report, Announce):
            self._tell(GenerationServes, generation=report.generation)
        elif isinstance(report, Stopping):
            self._tell(ServerStopping)
        elif isinstance(report, ReloadBegun) and report.operation not in self._reloads:
            self._reloads.add(report.operation)
            self._tell(ReloadStarted, reload=report.operation)
        elif isinstance(report, OperationEnded) and report.operation in self._reloads:
            self._reloads.discard(report.operation)
            self._tell(ReloadFinished, reload=report.operation, error=report.error)

    def _hear_of_process(self, report: ProcessStarted | ProcessReady | ProcessGone | ProcessReaped) -> None:
        if isinstance(report, ProcessStarted):
            identity = report.identity
            source = Source(identity.role, identity.slot, identity.generation, report.pid)
            self._alive[report.pid] = source
            self._tell(WorkerStarted, process=source)
        elif isinstance(report, ProcessReady):
            if report.pid in self._alive:
                self._tell(WorkerReady, process=self._alive[report.pid])
        elif isinstance(report, ProcessGone):
            self._ended(WorkerEnded if report.expected else WorkerDied, report.pid, report.reason)
        else:  # the plan may have given it up before
            self._ended(WorkerDied, report.pid, report.death)

    def _ended(self, kind: type[WorkerDied] | type[WorkerEnded], pid: int, reason: str) -> None:
        source = self._alive.pop(pid, None)
        if source is not None:
            self._tell(kind, process=source, reason=reason)

    def _tell(self, kind: type[Event], **fields: Any) -> None:
        collectors = self._collectors
        collectors.emit(kind(time.time(), time.monotonic(), collectors.source, **fields))

    def close(self) -> None:
        self._collectors.close()
