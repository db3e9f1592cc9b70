"""Finds, creates, calls and closes the collectors of one process.

Promises: a collector that fails loses only its own events, with one log line per kind; the end of a process waits at
most CLOSE_TIMEOUT for them. Imports collectors named by the operator, plug-ins and those that the application
subscribed.
"""

import importlib
import os
import threading
import time
import traceback
from collections.abc import Iterable
from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, Final

from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Identity
from hsrv.events.types import Collector, CollectorFactory, Event, Source, subscribed
from hsrv.ipc.messages import Trace
from hsrv.logs.logging import current_trace, get_logger

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "hsrv.collectors"
"""Group of entry points: collectors of an installed package are used automatically."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for all collectors of a process to close. Within the margin that the supervisor leaves a process beyond its
budgets."""

log = get_logger("hsrv.collectors")

Named = tuple[str, CollectorFactory]


class Collectors:
    """The collectors of this process; at least one."""

    def __init__(self, source: Source, named: Iterable[tuple[str, Collector]]) -> None:
        self.source = source
        self._named = list(named)
        self._failed: set[tuple[str, type[Event]]] = set()
        self._prefix = os.urandom(6).hex()
        self._last_connection = 0
        self._context = copy_context()
        """The context in which they were created: not that of an application call."""

    def stamp(self) -> tuple[float, float, Source]:
        """The first fields of every event."""
        return time.time(), time.monotonic(), self.source

    def emit(self, event: Event, trace: Trace | None = None) -> None:
        """Pass the event to all collectors, in a separate context: the current context is often that of an application
        call, perhaps of another client. `trace`: of the event's request, for their log lines."""
        context = self._context.copy()
        context.run(current_trace.set, trace)
        context.run(self.emit_here, event)

    def emit_here(self, event: Event) -> None:
        """The same in the current context, where context variables that they set remain."""
        for name, collector in self._named:
            try:
                collector.collect(event)
            except (Exception, SystemExit) as error:  # the collector's
                self._log_failure(name, event, error)

    def _log_failure(self, name: str, event: Event, error: BaseException) -> None:
        kind = type(event)
        if (name, kind) not in self._failed:
            self._failed.add((name, kind))
            more = "further errors of this collector at such events are not logged"
            log.error("collector raised", collector=name, at=kind.__name__, exc_info=error, note=more)

    def new_connection(self) -> str:
        """An id that no other connection has."""
        self._last_connection += 1
        return f"{self._prefix}{self._last_connection:x}"

    def close(self) -> None:
        """Close all of them, blocking for at most CLOSE_TIMEOUT seconds in total; what still runs then ends with the
        process."""
        end = time.monotonic() + CLOSE_TIMEOUT
        threads = [
            threading.Thread(target=_close, args=one, name=f"close {one[0]}", daemon=True)
            for one in self._named
        ]
        for thread in threads:
            thread.start()
        for thread, (name, _) in zip(threads, self._named, strict=True):
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                log.warning("collector not closed in time", collector=name, seconds=CLOSE_TIMEOUT)


def _close(name: str, collector: Collector) -> None:
    try:
        getattr(collector, "close", _nothing)()
    except (Exception, SystemExit) as error:  # the collector's
        log.error("collector raised", collector=name, at="close", exc_info=error)


def _nothing() -> None:
    """Substitute for a missing close()."""


def source_of(identity: Identity) -> Source:
    """The `Source` of this process."""
    return Source(identity.role, identity.slot, identity.generation, os.getpid())


@cache
def plugins() -> "tuple[EntryPoint, ...]":
    """Searched once: it takes milliseconds, so the template does it before it forks."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # most supervisors have no use for it

    return tuple(entry_points(group=GROUP))


def of_child(identity: Identity, options: Iterable[str]) -> Collectors | None:
    """The collectors of a worker or pool: of the operator, plug-ins and the application. Raises AppLoadError."""
    named = [(text, load(text)) for text in options]
    named += [(f"{GROUP}: {plugin.name}", _load_plugin(plugin)) for plugin in plugins()]
    named += [(getattr(factory, "__qualname__", repr(factory)), factory) for factory in subscribed()]
    return make(source_of(identity), named)


def make(source: Source, named: Iterable[Named]) -> Collectors | None:
    """Create the collectors; None if no factory returns one. Raises AppLoadError."""
    made = [
        (name, collector)
        for name, factory in named
        if (collector := _made(source, name, factory)) is not None
    ]
    return Collectors(source, made) if made else None


def _made(source: Source, name: str, factory: CollectorFactory) -> Collector | None:
    try:
        collector = factory(source)
    except (Exception, SystemExit) as error:  # the factory's
        raise _failed(name, error) from error
    if collector is not None and not isinstance(collector, Collector):
        raise AppLoadError(f"collector {name}: {collector!r} has no method collect()")
    return collector


def load(text: str) -> CollectorFactory:
    """The factory that `module:attribute` names. Raises AppLoadError."""
    module, _, attribute = text.partition(":")
    try:
        found = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:  # the module's
        raise _failed(text, error) from error
    return _callable(text, found)


def _load_plugin(plugin: "EntryPoint") -> CollectorFactory:
    try:
        return _callable(plugin.value, plugin.load())
    except (Exception, SystemExit) as error:  # the plug-in's
        raise _failed(f"{plugin.value} (installed: entry point {plugin.name})", error) from error


def _callable(name: str, found: object) -> CollectorFactory:
    if not callable(found):
        raise AppLoadError(f"collector {name}: {type(found).__name__} can't be called")
    return found


def _failed(name: str, error: BaseException) -> AppLoadError:
    if isinstance(error, AppLoadError):
        return error
    return AppLoadError(f"collector {name}: {type(error).__name__}: {error}", traceback.format_exc())
