"""What the application counts with prometheus-client, added up over all of its processes, also those that are gone.

prometheus-client writes one file per process and kind of metric into a directory (`hsrv.metricsdir`). Promises: a
counter of a process that was killed stays in the sum; the files of processes that are gone become one per kind, so that
they don't pile up. Everything here may take a while, so it runs in a thread (`aside`); the lock keeps a reader from
seeing a file twice or not at all.
"""

import os
import struct
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from prometheus_client import Metric as Family
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from hsrv import metricsdir, rundir
from hsrv.errors import BindError
from hsrv.logging import get_logger

GONE: Final = "gone"
"""In the place of a pid: of all that are gone."""

KEPT: Final = 32
"""Processes that are gone whose own gauges are still shown. A gauge of mode `all` is one series per process, so their
files can't become one."""

RESERVED: Final = "hsrv_"
"""How no metric of an application may begin."""

log = get_logger("hsrv.supervisor")

Values = dict[str, tuple[float, float]]
"""Key to value and time."""


class _File(NamedTuple):
    path: Path
    kind: str
    """counter, histogram, summary, gauge_sum, gauge_livesum, ..."""
    pid: str


class AppMetrics:
    """Of one server."""

    def __init__(self, folder: Path, hold: int | None = None) -> None:
        """`hold`: a descriptor to close with it."""
        self.folder = folder
        self._hold = hold
        self._lock = threading.Lock()
        self._told: set[str] = set()

    @classmethod
    def prepare(cls, run_dir: str | None) -> Self:
        """In the run directory where there is one, else in a temporary one. Raises OSError."""
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
        """All of them, under the application's own names."""
        with self._lock:
            self._compact()
            paths = [str(one.path) for one in self._files() if one.path.stat().st_size]
            return [family for family in self._merged(paths) if self._may_be_shown(family)]

    def compact(self) -> None:
        """Put the files of those that are gone together."""
        with self._lock:
            self._compact()

    # reading

    def _files(self) -> Iterator[_File]:
        for path in sorted(self.folder.glob("*.db")):
            kind, _, pid = path.stem.rpartition("_")
            yield _File(path, kind, pid)

    def _merged(self, paths: list[str]) -> Iterable[Family]:
        try:
            return list(MultiProcessCollector.merge(paths))
        except (
            Exception
        ) as error:  # a process was killed at a bad moment, or the application wrote there itself
            good = [path for path in paths if self._is_readable(path)]
            if good == paths:
                self._tell("application metrics left out", str(error))
                return []
            return self._merged(good)

    def _is_readable(self, path: str) -> bool:
        try:
            MultiProcessCollector.merge([path])
        except Exception as error:  # as above
            self._tell("file of application metrics left out", f"{Path(path).name}: {error}")
            return False
        return True

    def _may_be_shown(self, family: Family) -> bool:
        if family.name.startswith(RESERVED):
            self._tell(
                "application metric left out", f"{family.name}: names with {RESERVED} are the server's own"
            )
            return False
        return True

    def _tell(self, event: str, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            log.warning(event, why=why)

    # those that are gone

    def _compact(self) -> None:
        gone: dict[str, list[_File]] = defaultdict(list)
        for one in self._files():
            if one.pid.isdigit() and not _lives(int(one.pid)):
                gone[one.kind].append(one)
        for kind, files in gone.items():
            self._put_together(kind, files)

    def _put_together(self, kind: str, files: list[_File]) -> None:
        if kind.startswith("gauge_live"):
            _drop(files)
        elif kind == "gauge_all":
            _drop(sorted(files, key=lambda one: one.path.stat().st_mtime)[:-KEPT])
        elif kind in _ADD or kind in _CHOOSE:
            target = self.folder / f"{kind}_{GONE}.db"
            values: Values = {}
            for path in (target, *(one.path for one in files)):
                self._add_up(kind, values, path)
            _write(values, target)
            _drop(files)

    def _add_up(self, kind: str, values: Values, path: Path) -> None:
        try:
            found = [
                (key, value, at) for key, value, at, _ in MmapedDict.read_all_values_from_file(str(path))
            ]
        except FileNotFoundError:
            return  # nobody was gone yet
        except Exception as error:  # as above
            self._tell("file of application metrics left out", f"{path.name}: {error}")
            return
        for key, value, at in found:
            values[key] = _both(kind, values[key], (value, at)) if key in values else (value, at)


_ADD: Final = ("counter", "histogram", "summary", "gauge_sum")
_CHOOSE: Final = ("gauge_max", "gauge_min", "gauge_mostrecent")


def _both(kind: str, one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The value of two processes."""
    if kind == "gauge_max":
        return max(one, other)
    if kind == "gauge_min":
        return min(one, other)
    if kind == "gauge_mostrecent":
        return max(one, other, key=lambda value: value[1])
    return one[0] + other[0], 0.0


def _write(values: Values, target: Path) -> None:
    """As prometheus-client would, but not by a mapping: with a full disk that would be a signal, not an error. A file
    is the number of its bytes and eight-byte aligned entries: size of the key, key, value, time. Raises OSError."""
    data = bytearray(8)
    for key, (value, at) in values.items():
        text = key.encode()
        padded = text + b" " * (8 - (len(text) + 4) % 8)
        data += struct.pack(f"i{len(padded)}sdd", len(text), padded, value, at)
    struct.pack_into("i", data, 0, len(data))
    unfinished = target.with_suffix(".new")
    unfinished.write_bytes(data)
    unfinished.replace(target)


def _drop(files: Iterable[_File]) -> None:
    for one in files:
        one.path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or no process can have it
        return True
    return True
