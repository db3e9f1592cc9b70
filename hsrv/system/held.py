"""Signals that wait: while a process begins or ends, when nobody in it could act on them.

The command holds them from its first line on, until the supervisor hears them; a template is born with them held; the
supervisor holds them again from the moment on in which it hears no more. Promises: none is lost at the beginning, and
none ends a process that cleans up. Imports next to nothing: what comes before it is not covered.
"""

import signal

_NAMES = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")

HELD = frozenset(signal.Signals[name] for name in _NAMES if hasattr(signal, name))

_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, *(one for one in HELD if one.name == "SIGQUIT")})


def hold() -> None:
    """They wait from now on. Of this thread; those that it starts inherit it."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows, where hsrv says so and ends
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def let_through() -> None:
    """They are heard again, those that waited at once: also where whoever started us had blocked them."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def stop_waits() -> bool:
    """Whether one of those that wait asks for our end."""
    return any(signal.getsignal(one) is not signal.SIG_IGN for one in signal.sigpending() & _STOPS)


def forget() -> None:
    """What waits was meant for what is over."""
    while waiting := signal.sigpending() & HELD:
        signal.sigwait(waiting)
