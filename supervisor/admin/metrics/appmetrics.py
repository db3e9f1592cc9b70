"""The application's prometheus-client metrics, summed up over all of its processes, including those that have ended.

prometheus-client writes one file per process and kind of metric into a directory (`hsrv.system.metricsdir`). Promises:
counters of a process that was killed stay in the sum; the files of processes that have ended are merged into one per
kind; files that the application puts there are read within limits, and don't affect other files. Everything here may
take long, so it runs in a thread (`background`); the lock prevents a reader from seeing a file twice or not at all.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from prometheus_client import Metric as Family

from hsrv.common.errors import BindError
from hsrv.logs.logging import get_logger
from hsrv.supervisor.admin.metrics import metricfiles
from hsrv.supervisor.admin.metrics.metricfiles import FILE_LIMIT, BadFile, Key, Values
from hsrv.supervisor.admin.metrics.metricsums import ADDED, CHOSEN, LIVE, SEPARATE, Sums, both
from hsrv.system import metricsdir, rundir

GONE: Final = "gone"
"""In place of a pid: of all processes that have ended."""

KEPT: Final = 32
"""Ended processes whose own gauges are still shown. A gauge of mode `all` has one series per process, so their files
can't be merged."""

SUFFIX: Final = ".db"

RESERVED: Final = "hsrv_"
"""Prefix that metrics of the application can't have."""

SUM_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of all files that are read for one scrape. It needs several times as much memory."""

FILES_LIMIT: Final = 4096
"""Files of one scrape: 8 kinds of 512 processes."""

TOLD_LIMIT: Final = 64
"""Files and metrics that were left out and are named in the log, each once."""

log = get_logger("hsrv.supervisor")


class _File(NamedTuple):
    path: Path
    kind: str
    """counter, histogram, summary, gauge_sum, gauge_livesum, ..."""
    pid: str


class AppMetrics:
    """The application metrics of one server."""

    def __init__(self, folder: Path, hold: int | None = None) -> None:
        """`hold`: a descriptor to close at the end."""
        self.folder = folder
        self._hold = hold
        self._lock = threading.Lock()
        self._told: set[str] = set()

    @classmethod
    def prepare(cls, run_dir: str | None) -> Self:
        """In the run directory if there is one, else in a temporary directory. Raises OSError."""
        try:
            home = rundir.prepare(run_dir)
        except BindError:
            home = None
        return cls(*metricsdir.prepare(home, os.getpid()))

    def close(self) -> None:
        """Remove everything."""
        metricsdir.remove(self.folder)
        if self._hold is not None:
            os.close(self._hold)

    def collect(self) -> list[Family]:
        """All metrics, under the application's own names."""
        with self._lock:
            self._compact()
            sums, left, known = Sums(), SUM_LIMIT, dict[str, Key]()
            for one in self._files():
                left -= self._count(one, sums, known, left)
            return [family for family in sums.families(self._left_out) if self._may_be_shown(family)]

    def compact(self) -> None:
        """Merge the files of processes that have ended."""
        with self._lock:
            self._compact()

    # reading

    def _files(self) -> list[_File]:
        found = sorted(self._names())
        if len(found) > FILES_LIMIT:
            self._tell(
                "files of application metrics left out",
                f"there are more than {FILES_LIMIT} in {self.folder}",
                self.folder.name,
            )
        return [_File(self.folder / name, kind, pid) for name, kind, pid in found[:FILES_LIMIT]]

    def _names(self) -> Iterator[tuple[str, str, str]]:
        with os.scandir(self.folder) as found:
            for one in found:
                if one.name.endswith(SUFFIX):
                    kind, _, pid = one.name.removesuffix(SUFFIX).rpartition("_")
                    yield one.name, kind, pid

    def _count(self, one: _File, sums: Sums, known: dict[str, Key], limit: int) -> int:
        """Add a file to the sums; returns the bytes read."""
        try:
            data = metricfiles.read(one.path, min(limit, FILE_LIMIT))
            sums.add(one.kind, one.pid, metricfiles.entries(data, known))
        except FileNotFoundError:
            return 0  # its process has ended, or the application has removed it
        except BadFile as error:
            self._left_out(one.path.name, str(error))
            return 0
        return len(data)

    def _may_be_shown(self, family: Family) -> bool:
        if family.name.startswith(RESERVED):
            self._left_out(family.name, f"names with {RESERVED} are the server's own")
            return False
        return True

    def _left_out(self, name: str, why: str) -> None:
        """Log a file or metric that is left out."""
        self._tell("application metrics left out", f"{name}: {why}", name)

    def _tell(self, event: str, why: str, name: str) -> None:
        """Log once per name."""
        if name in self._told or len(self._told) > TOLD_LIMIT:
            return
        self._told.add(name)
        last = len(self._told) > TOLD_LIMIT
        log.warning(event, why=why if not last else f"{why}; more that are left out are not named")

    # processes that have ended

    def _compact(self) -> None:
        gone: dict[str, list[_File]] = defaultdict(list)
        for one in self._files():
            if one.pid.isdigit() and not _lives(int(one.pid)):
                gone[one.kind].append(one)
        for kind, files in gone.items():
            try:
                self._put_together(kind, files)
            except OSError as error:
                # a full disk, or files that the application has put there: they are read one by one
                self._tell("application metrics not put together", f"{kind}: {error}", f"{kind}_{GONE}")

    def _put_together(self, kind: str, files: list[_File]) -> None:
        if kind.startswith(LIVE):
            _drop(files)
        elif kind == SEPARATE:
            _drop(sorted(files, key=_changed_at)[:-KEPT])
        elif kind in ADDED or kind in CHOSEN:
            target = self.folder / f"{kind}_{GONE}{SUFFIX}"
            values: Values = {}
            known: dict[str, Key] = {}
            room = FILE_LIMIT - metricfiles.HEADER
            for path in (target, *(one.path for one in files)):
                room = self._add_up(kind, values, known, path, room)
            metricfiles.write(values, target)
            _drop(files)

    def _add_up(self, kind: str, values: Values, known: dict[str, Key], path: Path, room: int) -> int:
        """Add one file. `room`: bytes for further keys; returns the rest."""
        try:
            found = metricfiles.entries(metricfiles.read(path), known)
        except FileNotFoundError:
            return room  # no process had ended before
        except BadFile as error:
            self._left_out(path.name, str(error))
            return room
        for key, _, value, at in found:
            if key in values:
                values[key] = both(kind, values[key], (value, at))
            elif (size := metricfiles.size_of(key)) <= room:
                values[key] = (value, at)
                room -= size
            else:
                self._left_out(
                    kind, f"the processes that have ended had more series than fit into {FILE_LIMIT} bytes"
                )
        return room


def _changed_at(one: _File) -> float:
    try:
        return one.path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _drop(files: Iterable[_File]) -> None:
    for one in files:
        with suppress(OSError):  # a directory of the application, or removed
            one.path.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user, or not a possible pid
        return True
    return True
