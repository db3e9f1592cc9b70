"""Where the lines of this process go: standard error, standard output or a file; those of the access log apart or not.

One writer per place, so that the lines lost there are counted once.
"""

import os
from collections.abc import Callable
from typing import Final

from hsrv.logs.logfiles import file_writer
from hsrv.logs.output import LineWriter
from hsrv.options.config import Config

Target = int | str
"""A descriptor, or the path of a file."""

STDOUT: Final = 1
STDERR: Final = 2

DASH: Final = "-"
"""The path that stands for standard output, or error, as for gunicorn."""


def target_of(config: Config) -> Target:
    if config.log_file not in (None, DASH):
        return config.log_file
    return STDOUT if config.log_to == "stdout" else STDERR


def access_target_of(config: Config) -> Target:
    if config.access_log_file is None:
        return target_of(config)
    return STDOUT if config.access_log_file == DASH else config.access_log_file


def wants_json(config: Config, target: Target) -> bool:
    """Whether `--log-format` means JSON there."""
    return config.log_format == "json" or (config.log_format == "auto" and not is_terminal(target))


def is_terminal(target: Target) -> bool:
    return isinstance(target, int) and os.isatty(target)


def wants_colors(target: Target) -> bool:
    return is_terminal(target) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


class Writers:
    """Of this process; a fork inherits them."""

    def __init__(self, on_flow: Callable[[int], None]) -> None:
        """`on_flow`: see LineWriter."""
        self.main: Target = STDERR
        self._on_flow = on_flow
        self._writers: dict[Target, LineWriter] = {}
        self._inherited = -1

    def inherit(self, fd: int) -> None:
        """The `own` of the parent process's writer of `main`; -1: it had none. Call before anything is written."""
        self._inherited = fd

    def of(self, target: Target) -> LineWriter:
        """Created again if the descriptor has been redirected."""
        writer = self._writers.get(target)
        if writer is None or (isinstance(target, int) and not writer.is_for(target)):
            writer = self._writers[target] = self._make(target)
            writer.on_flow = self._on_flow
        return writer

    def _make(self, target: Target) -> LineWriter:
        if isinstance(target, str):
            return file_writer(target)
        inherited = -1
        if target == self.main:
            inherited, self._inherited = self._inherited, -1
        return LineWriter(target, inherited)

    def restart(self) -> None:
        """After a fork: the parent reports the lines lost so far."""
        for writer in self._writers.values():
            writer.restart()

    def tell(self) -> None:
        """Report now how many lines were lost, if any."""
        for writer in list(self._writers.values()):
            writer.tell()
