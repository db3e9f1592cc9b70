"""Collects processes that have ended: the one loop around waitpid().

A SIGCHLD stands for any number of deaths, so a process that has children collects all of them at once.
"""

import os
from os import waitpid  # the application may replace the module's functions (gevent)


def reap() -> list[tuple[int, int]]:
    """Every child that has ended and was not collected yet: pid and wait status."""
    dead: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if pid == 0:
            return dead
        dead.append((pid, status))
