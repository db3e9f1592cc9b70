"""What the application does with `logging` works as it does everywhere.

Lines of its loggers get hsrv's schema through a handler of the root logger, unless a handler of its own shows them on
the console already. `basicConfig()` has its effect. A level, a filter or a handler of the logger `hsrv`, or of one
below it such as `hsrv.access`, applies to hsrv's own lines, which are no records of `logging` otherwise: so a
dictConfig() that disables existing loggers doesn't silence them.
"""

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

_RESHAPES: Final = frozenset(
    {"filename", "filemode", "stream", "format", "datefmt", "style", "handlers", "formatter"}
)
"""Arguments of basicConfig() that say how lines are to look, or where they go."""

_CONSOLE: Final = (1, 2)


class RootHandler(logging.Handler):
    """Formats records of the application's loggers, and writes them."""

    def __init__(
        self,
        line_of: Callable[[logging.LogRecord], str],
        write: Callable[[str], None],
        failed: Callable[[str, Exception], None],
    ) -> None:
        super().__init__()
        self._line_of = line_of
        self._write = write
        self._failed = failed

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._is_shown_already(record):
                return
            text = self._line_of(record)
        except Exception as error:  # foreign code: arguments that don't fit the message, a filter
            self._failed(record.name, error)
        else:
            self._write(text)

    def _is_shown_already(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(one is not self and _shows(one, record) for one in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


def _shows(handler: logging.Handler, record: logging.LogRecord) -> bool:
    """Whether a handler writes this record to standard output or error. Its filters are asked once more."""
    if record.levelno < handler.level or not _is_console(handler):
        return False
    return bool(handler.filter(record))


def _is_console(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    stream = handler.stream
    if stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        return True
    with suppress(Exception):  # foreign code: anything with a write()
        return stream.fileno() in _CONSOLE
    return False


def join(handler: logging.Handler, level: int) -> None:
    """Route the records of all loggers to `handler`."""
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    logging.basicConfig = _basic_config(logging.basicConfig, handler)


def _basic_config(original: Callable[..., None], ours: logging.Handler) -> Callable[..., None]:
    """It does nothing if the root logger has a handler. As long as that is only ours, it has none of the application:
    a level is set, and where the look of lines is given, ours makes way."""

    @functools.wraps(original)
    def basic_config(**given: Any) -> None:
        root = logging.getLogger()
        if root.handlers == [ours] and not given.get("force"):
            if given.keys() & _RESHAPES:
                root.removeHandler(ours)
            elif given.get("level") is not None:
                root.setLevel(given["level"])
        original(**given)

    return basic_config


# hsrv's own lines


def is_heard(name: str) -> bool:
    """Whether the application, or `--log-config`, has named a logger that the lines of this name belong to."""
    return next(_chain(name), None) is not None


def _chain(name: str) -> Iterator[logging.Logger]:
    """The loggers from `name` up to `hsrv` that exist."""
    known = logging.Logger.manager.loggerDict
    while name:
        logger = known.get(name)
        if isinstance(logger, logging.Logger):
            yield logger
        name = name.rpartition(".")[0]


def offer(name: str, level: int, message: str, arguments: tuple[Any, ...], fields: Mapping[str, Any]) -> bool:
    """Give one of hsrv's own lines to these loggers. Whether hsrv is to write it itself: not if a level or filter
    holds it back, if it doesn't propagate, or if a handler has shown it on the console."""
    chain = list(_chain(name))
    if level < next((one.level for one in chain if one.level), 0):
        return False
    record = _record(name, level, message, arguments, fields)
    is_shown = False
    for logger in chain:
        if not logger.filter(record):
            return False
    for logger in chain:
        for handler in logger.handlers:
            if level >= handler.level:
                is_shown = is_shown or _shows(handler, record)
                handler.handle(record)
        if not logger.propagate:
            return False
    return not is_shown


def _record(
    name: str, level: int, message: str, arguments: tuple[Any, ...], fields: Mapping[str, Any]
) -> logging.LogRecord:
    error = fields.get("exc_info")
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    info = sys.exc_info() if error is True else error if isinstance(error, tuple) else None
    record = logging.LogRecord(name, level, "hsrv", 0, message, arguments, info)
    for key, value in fields.items():
        if key not in record.__dict__ and key not in ("message", "asctime"):
            record.__dict__[key] = value
    return record
