"""Signals and their commands."""

import signal
from enum import Enum, auto
from typing import Final


class Command(Enum):
    STOP = auto()
    """Drain, then exit; the second time exit at once."""
    STOP_NOW = auto()
    RELOAD = auto()
    UPGRADE = auto()
    MORE = auto()
    FEWER = auto()
    REOPEN_LOGS = auto()
    REAP = auto()


COMMANDS: Final = {
    signal.SIGTERM: Command.STOP,
    signal.SIGINT: Command.STOP,
    signal.SIGQUIT: Command.STOP_NOW,
    signal.SIGHUP: Command.RELOAD,
    signal.SIGTTIN: Command.MORE,
    signal.SIGTTOU: Command.FEWER,
    signal.SIGUSR1: Command.REOPEN_LOGS,
    signal.SIGUSR2: Command.UPGRADE,
    signal.SIGCHLD: Command.REAP,
}


def command_of(signum: int) -> Command:
    return COMMANDS[signal.Signals(signum)]


def handled() -> list[signal.Signals]:
    """The signals to handle. Signals that were ignored at the start (HUP: nohup) stay ignored, except those that stop
    the server: a shell without job control ignores INT for its background jobs, and `kill -INT` must stop them."""
    return [
        signum
        for signum in COMMANDS
        if signal.getsignal(signum) is not signal.SIG_IGN
        or signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    ]
