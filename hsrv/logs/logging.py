"""Structured logs: one schema for the server, its access log and the application.

Owns the format of every line; `hsrv.logs.output` writes it. Promises: one write per line; every line names its process;
lines of one request carry its `request_id`; a value can't forge a line; a line that can't be formatted or written is
lost, but its caller never fails. Loggers of the standard library and of structlog use the same schema, and so do
uncaught exceptions. What the application configures itself is left alone, and has no effect on the server's own lines:
these use neither stdlib loggers (which a dictConfig() disables) nor structlog's global configuration.
"""

import json
import logging
import math
import os
import sys
import sysconfig
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hsrv.common.terms import Identity, Role
from hsrv.common.visible import visible, visible_block
from hsrv.ipc.messages import Trace
from hsrv.logs import applogging
from hsrv.logs.output import LineWriter
from hsrv.logs.schemas import SCHEMAS
from hsrv.logs.shortlines import Style, is_hidden, short_line
from hsrv.logs.targets import Target, Writers, access_target_of, target_of, wants_colors, wants_json
from hsrv.options.config import Config

current_trace: ContextVar[Trace | None] = ContextVar("hsrv_trace", default=None)
"""The request that the current context belongs to."""

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

_LEADING: Final = ("timestamp", "level", "logger", "event", "message")
"""First in each JSON line, for human readers."""

_BLOCKS: Final = ("exception", "stack", "stacks")
"""Keys whose text has several lines."""


def get_logger(name: str) -> Any:
    """A logger whose methods (debug to critical, exception) take a short event and key=value context."""
    return _Logger(name)


def setup(config: Config, identity: Identity | None) -> None:
    """Route everything to the configured place in the configured format. `identity` is None in the supervisor.

    Called again after a fork with the child's identity: keeps what the application has configured since.
    """
    first = _process.lines is None
    _process.writers.main = target_of(config)
    _process.writers.restart()
    lines = _process.lines = _Lines(config, identity)
    if first:
        _join_structlog()
        applogging.join(_root_handler(), lines.level)
        _join_hooks()


def set_identity(identity: Identity) -> None:
    """From now on every line carries this identity."""
    assert _process.lines is not None, "made by setup()"
    _process.lines.fields = _fields(identity)


def set_level(level: str) -> None:
    """Log from this level on: also loggers of the standard library, unless the application set a level itself."""
    lines = _process.lines
    assert lines is not None, "made by setup()"
    root = logging.getLogger()
    if root.level == lines.level:
        root.setLevel(LEVELS[level])
    lines.level = LEVELS[level]


def line_writer() -> LineWriter:
    """The writer of this process for all but the access log."""
    return _process.writers.of(_process.writers.main)


def access_writer(config: Config) -> LineWriter:
    """The writer of this process for the access log."""
    if _process.lines is None:
        _process.writers.main = target_of(config)
    return _process.writers.of(access_target_of(config))


def inherit_writer(fd: int) -> None:
    """Write through this descriptor, the `own` of the parent process's writer; -1: it had none. Call before setup()."""
    _process.writers.inherit(fd)


def tell_lost() -> None:
    """At the end of the process: report the lines lost so far, if any."""
    _process.writers.tell()


def write_text(text: str) -> None:
    """Write text for people to the log as it is, with a line feed at its end."""
    line_writer().write(text.encode("utf-8", "backslashreplace") + b"\n")


def process_fields() -> dict[str, Any]:
    """role, slot, generation and pid, as in every line of this process."""
    fields = _process.lines.fields if _process.lines is not None else {}
    return {**fields, "pid": os.getpid()}


class _Lines:
    """Formats the lines of this process."""

    def __init__(self, config: Config, identity: Identity | None) -> None:
        self.level = LEVELS[config.log_level]
        self.fields = _fields(identity)
        self._writer = line_writer()
        self._is_short = config.log_format == "short" and self.level > LEVELS["debug"]
        self._tail = _tail(config)
        self.own: list[Processor] = [self._filter, _add_own_name, *_SCHEMA, self._offer, self._render]
        self.formatter = structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *_SCHEMA],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, self._render],
        )

    def write(self, text: str) -> None:
        self._writer.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def write_failure(self, logger: str, error: Exception) -> None:
        """Write a substitute for a line that could not be formatted."""
        self.write(self._run_tail(_failure("error", logger, error)))

    def _filter(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if LEVELS[method] < self.level or (self._is_short and is_hidden(method, event["event"])):
            raise structlog.DropEvent
        return event

    def _offer(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """To the loggers `hsrv...` of the application, if it has named one."""
        name = event["logger"]
        if applogging.is_heard(name):
            text = str(event["event"])
            try:
                is_ours = applogging.offer(name, LEVELS[method], text, (), event)
            except Exception as error:  # foreign code: a filter, a handler
                self.write_failure(name, error)
                return event
            if not is_ours:
                raise structlog.DropEvent
        return event

    def _render(self, logger: WrappedLogger, method: str, event: EventDict) -> Any:
        level, name = event.get("level", method), event.get("logger", "")
        try:
            return self._run_tail(event)
        except Exception as error:  # foreign code: a repr() or str() of a logged value
            return self._run_tail(_failure(level, name, error))

    def _run_tail(self, event: EventDict) -> Any:
        line: Any = event
        for processor in self._tail:
            line = processor(None, "", line)
        return line


class _Process:
    """State of this process; a fork inherits it."""

    def __init__(self) -> None:
        self.writers = Writers(lambda lost: _log_lost(lost))  # noqa: PLW0108  # defined below

    lines: _Lines | None = None
    """None before setup()."""


_process: Final = _Process()


class _Logger:
    """Looks up the format at each call: modules create their loggers long before setup().

    Before setup(), structlog's own defaults apply: in tests, and when a part of hsrv is used as a library.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        lines = _process.lines
        if lines is None:
            return getattr(structlog.stdlib.get_logger(self._name), method)
        return getattr(_Bound(_Sink(self._name, lines), lines.own, {}), method)


_Bound: Final[Any] = structlog.make_filtering_bound_logger(logging.NOTSET)


class _Sink:
    """The end of a server logger."""

    def __init__(self, name: str, lines: _Lines) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = lines.write


def _add_own_name(logger: _Sink, method: str, event: EventDict) -> EventDict:
    event["logger"] = logger.name
    return event


def _log_lost(count: int) -> None:
    if _process.lines is not None:
        get_logger("hsrv.log").warning(
            "log lines lost", count=count, why="the reader was too slow or gone, or the disk was full"
        )


# what every line gets

_timestamp: Final = structlog.processors.TimeStamper(fmt="iso", utc=True)


def _add_trace(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    trace = current_trace.get()
    if trace is not None:
        event.setdefault("request_id", trace.request_id)
        if trace.traceparent is not None:
            event.setdefault("traceparent", trace.traceparent)
    return event


def _add_process(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for key, value in process_fields().items():
        event.setdefault(key, value)
    return event


def _fields(identity: Identity | None) -> dict[str, Any]:
    if identity is None:
        return {"role": str(Role.SUPERVISOR)}
    return {"role": str(identity.role), "slot": identity.slot, "generation": identity.generation}


def _failure(level: str, logger: str, error: Exception) -> EventDict:
    """No part of the event that failed, and no str() of the error: either may be what fails."""
    why = {"event": "log call failed", "level": level, "logger": logger, "error": type(error).__name__}
    return _add_process(None, level, _add_trace(None, level, _timestamp(None, level, why)))


_SCHEMA: Final[list[Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    _timestamp,
    _add_trace,
    _add_process,
]


# the application's loggers


def _root_handler() -> applogging.RootHandler:
    def lines() -> _Lines:
        assert _process.lines is not None, "made by setup()"
        return _process.lines

    return applogging.RootHandler(
        lambda record: str(lines().formatter.format(record)),
        lambda text: lines().write(text),
        lambda name, error: lines().write_failure(name, error),
    )


def _join_hooks() -> None:
    """Log uncaught exceptions: the interpreter would write them itself, and block until they are read."""
    log = get_logger("hsrv.uncaught")

    def on_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:  # which ends a thread silently
            name = args.thread.name if args.thread is not None else ""
            info = (args.exc_type, args.exc_value, args.exc_traceback)
            log.error("thread failed", thread=name, exc_info=info)

    def on_unraisable(args: "sys.UnraisableHookArgs") -> None:
        info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("exception ignored", why=args.err_msg or "", object=args.object, exc_info=info)

    sys.excepthook = lambda *info: log.critical("process failed", exc_info=info)
    threading.excepthook = on_thread
    sys.unraisablehook = on_unraisable


def _join_structlog() -> None:
    """An application that uses structlog without configuring it gets hsrv's schema."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_SCHEMA,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _tail(config: Config) -> list[Processor]:
    """The end of the processors: what makes a line of an event."""
    if config.log_format == "short":
        style = short_style(_process.writers.main)
        return [structlog.processors.format_exc_info, lambda logger, method, event: short_line(event, style)]
    if wants_json(config, _process.writers.main):
        return _json_tail(config.log_schema)
    return _console_tail(colors=wants_colors(_process.writers.main))


def short_style(target: Target) -> Style:
    """That of `--log-format short`, there."""
    libraries = (sysconfig.get_path("stdlib"), str(Path(__file__).parent.parent))
    return Style(str(Path.cwd()), libraries, wants_colors(target))


# JSON


def _json_tail(schema: str) -> list[Processor]:
    render = structlog.processors.JSONRenderer(_strict_json, default=repr, skipkeys=True)
    renamed = SCHEMAS[schema]
    renaming: list[Processor] = (
        [] if renamed is None else [lambda logger, method, event: renamed(dict(event))]
    )
    return [structlog.processors.format_exc_info, _order, *renaming, render]


def _strict_json(event: EventDict, **options: Any) -> str:
    """JSON has no NaN and no infinity, but Python writes them by default."""
    try:
        return json.dumps(event, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(event), **options)


def _finite(value: Any) -> Any:
    """The same with a text in place of each non-finite number."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _order(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if "message" not in event:
        error = event.get("error")
        event["message"] = f"{event.get('event')}: {error}" if isinstance(error, str) else event.get("event")
    return {**{key: event.pop(key) for key in _LEADING if key in event}, **event}


# console


def _console_tail(*, colors: bool) -> list[Processor]:
    plain = structlog.dev.plain_traceback  # the default one warns about format_exc_info
    render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)
    return [structlog.processors.format_exc_info, _name_process, _escape, render]


def _name_process(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Merge role and slot into one short field."""
    if "slot" in event and "role" in event:
        event["role"] = f"{event['role']}-{event.pop('slot')}"
    return event


def _escape(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        text = value if isinstance(value, str) else repr(value)
        # a block is indented: none of its lines can be mistaken for a log line
        event[key] = visible_block(text, indent="    ") if key in _BLOCKS else visible(text)
    return event
