"""Blocked signals: while a process starts or ends, when it has no handler for them.

The command blocks them from its first line on, until the supervisor handles them; a template starts with them blocked;
the supervisor blocks them again when it stops handling them. Promises: none is lost at the start, and none ends a
process during cleanup. Imports almost nothing: what runs before it is not protected.
"""

import signal

_NAMES = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")

BLOCKED = frozenset(signal.Signals[name] for name in _NAMES if hasattr(signal, name))

_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, *(one for one in BLOCKED if one.name == "SIGQUIT")})

_ALWAYS = frozenset({signal.SIGTERM, signal.SIGINT})
"""Those that the supervisor handles even if they were ignored when it was started."""


def block() -> None:
    """Block them from now on, in this thread and the threads that it starts."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows, where hsrv exits with an error
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)


def unblock() -> None:
    """Unblock them, also if the parent had blocked them; pending ones are delivered at once."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


def stop_is_pending() -> bool:
    """Whether a pending signal asks this process to stop."""
    waiting = signal.sigpending() & _STOPS
    return any(one in _ALWAYS or signal.getsignal(one) is not signal.SIG_IGN for one in waiting)


def discard_pending() -> None:
    """Discard the pending signals: they were meant for what has ended."""
    while waiting := signal.sigpending() & BLOCKED:
        signal.sigwait(waiting)
