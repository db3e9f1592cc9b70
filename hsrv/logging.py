"""Structured logs: one schema for the server, its access log and the application.

Promises: one write per line on standard error; every line names its process; lines of one request carry its
`request_id`. The application's own stdlib logging joins in, unless the application configures it itself.
"""

import logging
import os
import sys
from contextvars import ContextVar
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hsrv.config import Config
from hsrv.messages import Trace
from hsrv.terms import Identity

current_trace: ContextVar[Trace | None] = ContextVar("hsrv_trace", default=None)
"""The request that the current context belongs to."""

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def get_logger(name: str) -> Any:
    """A logger whose methods take a short event and key=value context."""
    return structlog.stdlib.get_logger(name)


def wants_json(log_format: str, stream: TextIO) -> bool:
    """Whether `--log-format` means JSON on this stream."""
    return log_format == "json" or (log_format == "auto" and not stream.isatty())


def setup(config: Config, identity: Identity | None) -> None:
    """Route everything to standard error in the configured format. Called again after a fork.

    `identity` is None in the supervisor, and in a template until it forks.
    """
    as_json = wants_json(config.log_format, sys.stderr)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        _ProcessAdder(identity),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(_json_tail() if as_json else _console_tail(colors=sys.stderr.isatty())),
        ],
    )
    handler = _StderrHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler, *(h for h in root.handlers if not isinstance(h, _StderrHandler))]
    root.setLevel(LEVELS[config.log_level])


class _StderrHandler(logging.Handler):
    """One write(2) per line on descriptor 2, so that lines of several processes don't mix."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(2, self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except OSError:
            self.dropped += 1

    dropped = 0


class _ProcessAdder:
    def __init__(self, identity: Identity | None) -> None:
        self._fields: dict[str, Any] = {"role": "supervisor"}
        if identity is not None:
            self._fields = {
                "role": str(identity.role),
                "slot": identity.slot,
                "generation": identity.generation,
            }

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        for key, value in self._fields.items():
            event.setdefault(key, value)
        event.setdefault("pid", os.getpid())
        return event


def _add_trace(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    trace = current_trace.get()
    if trace is not None:
        event.setdefault("request_id", trace.request_id)
        if trace.traceparent is not None:
            event.setdefault("traceparent", trace.traceparent)
    return event


def _json_tail() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _console_tail(*, colors: bool) -> list[Processor]:
    return [_escape, structlog.dev.ConsoleRenderer(colors=colors)]


def _escape(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Control characters must not forge lines or move the terminal's cursor."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event
