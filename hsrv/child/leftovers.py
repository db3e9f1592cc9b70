"""Processes that the application started and that are still there after the process which started them has ended.

The template adopts them (it is a child subreaper), so whatever is its child and was not forked by it is an orphan of a
worker or pool. Promises: an orphan whose process has ended gets SIGTERM, and SIGKILL after GRACE; one that left
this session (`start_new_session`, `setsid`) is left alone, and so is one whose process still lives, as after `job &` in
a shell; only children of this process that it has not reaped are signalled, so a pid can't be another process's.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Final

from hsrv.common.visible import visible
from hsrv.logs.logging import get_logger
from hsrv.system.platform import become_subreaper

GRACE: Final = 1.0
"""Seconds between SIGTERM and SIGKILL."""

LOOK_INTERVAL: Final = 1.0
"""Seconds between two searches for orphans of living processes. When a process dies, orphans that appeared since the
last search are attributed to it."""

SHOWN: Final = 5
"""Processes named in a log line."""

NAME_LIMIT: Final = 40
"""Characters of a name: the first word of a command line, because the others may be secret."""

log = get_logger("hsrv.child")


class Orphans:
    """Which process each belongs to. Pure."""

    def __init__(self) -> None:
        self._owners: dict[int, set[int]] = {}
        """By pid: the processes that may have started it and have not ended."""

    def seen(self, present: Iterable[int], owners: Iterable[int]) -> None:
        """`present`: all orphans now. A new one may belong to any of `owners`."""
        before = self._owners
        self._owners = {pid: before[pid] if pid in before else set(owners) for pid in present}

    def owners(self, pids: Iterable[int]) -> set[int]:
        """The owners of what these processes leave behind: themselves, or for orphans their own owners."""
        return {owner for pid in pids for owner in self._owners.get(pid, {pid})}

    def ended(self, pids: Iterable[int]) -> None:
        for owners in self._owners.values():
            owners.difference_update(pids)

    def left_behind(self) -> list[int]:
        """Those without an owner."""
        return [pid for pid, owners in self._owners.items() if not owners]


class Leftovers:
    """The orphans of one template."""

    def __init__(self) -> None:
        self._orphans = Orphans()
        self._session = os.getsid(0)
        self._kill_at: dict[int, float] = {}
        """By pid: when those that got SIGTERM are killed. `inf`: they were."""
        self._list = Path(f"/proc/self/task/{os.getpid()}/children")
        """Complete if the process has no threads. Without such a list, orphans are left to the supervisor."""
        if self._list.exists():
            become_subreaper()

    def adopt(self) -> None:
        """What runs now was started by an import, and belongs to this process."""
        self._orphans.seen(self._present(set()), {os.getpid()})

    def look(self, children: set[int], dead: list[int]) -> None:
        """Terminate those left behind. `children`: forked by this process and not reaped; `dead`: reaped since the last
        call."""
        self._orphans.seen(self._present(children), self._orphans.owners(dead) if dead else children)
        self._orphans.ended(dead)
        self._end(self._orphans.left_behind())

    def end(self, children: set[int]) -> bool:
        """This process ends. Returns whether any is still running: call it again when one has ended."""
        self._orphans.seen(self._present(children), ())
        self._orphans.ended({os.getpid(), *children})
        left = self._orphans.left_behind()
        self._end(left)
        return bool(left)

    def pause(self, children: set[int]) -> float:
        """Seconds until the next `look`; inf: not before a process ends."""
        at = min(self._kill_at.values(), default=inf) - time.monotonic()
        return max(0.0, min(at, LOOK_INTERVAL if children else inf))

    def _present(self, children: set[int]) -> list[int]:
        try:
            found = [int(pid) for pid in self._list.read_text().split()]
        except OSError:  # not Linux, or a kernel without it
            return []
        return [pid for pid in found if pid not in children and self._stays(pid)]

    def _stays(self, pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getsid(pid) == self._session
        return False

    def _end(self, pids: list[int]) -> None:
        now = time.monotonic()
        late = [pid for pid in pids if now >= self._kill_at.get(pid, inf)]
        fresh = [pid for pid in pids if pid not in self._kill_at]
        self._kill_at = {pid: self._kill_at.get(pid, now + GRACE) for pid in pids}
        if fresh:
            log.info("left behind, told to end", processes=_names(fresh), count=len(fresh))
            _signal(fresh, signal.SIGTERM)
        if late:
            log.warning(
                "left behind, killed",
                processes=_names(late),
                count=len(late),
                why="still there after SIGTERM",
            )
            _signal(late, signal.SIGKILL)
            self._kill_at.update(dict.fromkeys(late, inf))


def _signal(pids: list[int], signum: int) -> None:
    """Each is a child that was not reaped, so its pid is no other's."""
    for pid in pids:
        with contextlib.suppress(PermissionError):  # it runs as another user
            os.kill(pid, signum)


def _names(pids: list[int]) -> list[str]:
    return [f"{_name(pid)} ({pid})" for pid in pids[:SHOWN]]


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return visible(Path(words[0].decode("latin-1")).name[:NAME_LIMIT]) or "?"
    except OSError:
        return "?"
