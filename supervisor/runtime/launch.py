"""How this server was started, so that it can be started again: the same command line, place and environment."""

import contextlib
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Self

from hsrv.system.platform import be_no_subreaper, become_subreaper

SUCCEEDS: Final = "HSRV_SUCCEEDS"
"""Variable that names the descriptor of the channel to the old server. One that knows nothing of upgrades refuses it,
as it refuses every HSRV_ variable that is no option."""


@dataclass(frozen=True)
class Launch:
    command: tuple[str, ...]
    folder: str
    """By its name, which may mean another directory by now: a link to the current release."""
    left_out: Collection[str]
    """Variables that we set ourselves, and the next one finds anew. A reload may change them."""

    @classmethod
    def here(cls, set_by_us: Collection[str] = ()) -> Self:
        """Of this process. `set_by_us`: variables that did not come with it (--env-file), as they are at any time."""
        return cls((sys.executable, *sys.orig_argv[1:]), _folder(), set_by_us)

    def spawn(self, fd: int) -> int:
        """Start it with one inherited descriptor; its pid. Raises OSError.

        In a process group of its own: what a terminal or a `kill` sends to ours reaches it by us, and once.
        """
        environ = {name: value for name, value in os.environ.items() if name not in self.left_out}
        environ[SUCCEEDS] = str(fd)
        os.set_inheritable(fd, True)
        with contextlib.chdir(self.folder):  # posix_spawn knows no directory; nothing else runs meanwhile
            return os.posix_spawn(self.command[0], self.command, environ, setpgroup=0)

    def spawn_beside(self, fd: int) -> int:
        """The same, not as our child but as that of whoever started us: a service manager waits at a stop for the main
        process only if it is its own child, and kills at once if it isn't. Raises OSError."""
        read, write = os.pipe()
        try:
            be_no_subreaper()
            between = os.fork()  # nothing but us runs in this process, and it starts the server and ends
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
