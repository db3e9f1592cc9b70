"""How this server was started, so that it can be started again: the same command line, place and environment."""

import contextlib
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

SUCCEEDS: Final = "HSRV_SUCCEEDS"
"""Variable that names the descriptor of the channel to the old server. One that knows nothing of upgrades refuses it,
as it refuses every HSRV_ variable that is no option."""


@dataclass(frozen=True)
class Launch:
    command: tuple[str, ...]
    folder: str
    """By its name, which may mean another directory by now: a link to the current release."""
    left_out: frozenset[str]
    """Variables that we set ourselves, and the next one finds anew."""

    @classmethod
    def here(cls, set_by_us: Collection[str] = ()) -> Self:
        """Of this process. `set_by_us`: names of variables that did not come with it (--env-file)."""
        return cls((sys.executable, *sys.orig_argv[1:]), _folder(), frozenset(set_by_us))

    def spawn(self, fd: int) -> int:
        """Start it with one inherited descriptor; its pid. Raises OSError.

        In a process group of its own: what a terminal or a `kill` sends to ours reaches it by us, and once.
        """
        environ = {name: value for name, value in os.environ.items() if name not in self.left_out}
        environ[SUCCEEDS] = str(fd)
        os.set_inheritable(fd, True)
        with contextlib.chdir(self.folder):  # posix_spawn knows no directory; nothing else runs meanwhile
            return os.posix_spawn(self.command[0], self.command, environ, setpgroup=0)


def _folder() -> str:
    named, here = os.environ.get("PWD", ""), Path.cwd()
    with contextlib.suppress(OSError):
        if named and Path(named).samefile(here):
            return named
    return str(here)
