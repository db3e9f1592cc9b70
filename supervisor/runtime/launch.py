"""How this server was started, to start it again: with the same command line, directory and environment."""

import contextlib
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Self

from hsrv.system.platform import be_no_subreaper, become_subreaper

SUCCEEDS: Final = "HSRV_SUCCEEDS"
"""Variable with the descriptor of the channel to the old server. A version without upgrades refuses it, like every
unknown HSRV_ variable."""


@dataclass(frozen=True)
class Launch:
    command: tuple[str, ...]
    folder: str
    """By name, because a link to the current release may point to another directory by now."""
    left_out: Collection[str]
    """Variables that this server has set itself, and the next one will set again. A reload may change them."""

    @classmethod
    def here(cls, set_by_us: Collection[str] = ()) -> Self:
        """The launch of this process. `set_by_us`: names of variables that it has set itself (--env-file); may
        change."""
        return cls((sys.executable, *sys.orig_argv[1:]), _folder(), set_by_us)

    def spawn(self, fd: int) -> int:
        """Start it with one inherited descriptor; returns its pid. Raises OSError.

        In a process group of its own: signals to ours are forwarded to it, and must reach it once.
        """
        environ = {name: value for name, value in os.environ.items() if name not in self.left_out}
        environ[SUCCEEDS] = str(fd)
        os.set_inheritable(fd, True)
        with contextlib.chdir(
            self.folder
        ):  # posix_spawn can't change the directory; no other code runs meanwhile
            return os.posix_spawn(self.command[0], self.command, environ, setpgroup=0)

    def spawn_beside(self, fd: int) -> int:
        """The same, as a child of our parent instead of ours: at a stop a service manager waits for the main process
        only if that is its own child, and kills it at once otherwise. Raises OSError."""
        read, write = os.pipe()
        try:
            be_no_subreaper()
            between = os.fork()  # its only code is ours: it starts the server and exits
            if between == 0:
                self._spawn_and_exit(fd, write)
            os.waitpid(between, 0)
            os.close(write)
            pid = os.read(read, 32)
        finally:
            become_subreaper()
            os.close(read)
        if not pid:
            raise OSError(f"{self.command[0]} can't be started in {self.folder}")
        return int(pid)

    def _spawn_and_exit(self, fd: int, write: int) -> NoReturn:
        code = 1
        try:
            os.write(write, str(self.spawn(fd)).encode())
            code = 0
        finally:
            os._exit(code)


def _folder() -> str:
    named, here = os.environ.get("PWD", ""), Path.cwd()
    with contextlib.suppress(OSError):
        if named and Path(named).samefile(here):
            return named
    return str(here)
