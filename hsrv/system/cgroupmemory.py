"""The memory limit of the process's control group: current use, and OOM kills.

cgroup v2 is documented in the kernel's admin-guide/cgroup-v2.rst, v1 in admin-guide/cgroup-v1/memory.rst. Both are
read, because mixed set-ups exist; missing files are ignored.
"""

from pathlib import Path
from typing import Final, NamedTuple

from hsrv.system.cpus import CGROUP, own_groups, upwards

UNLIMITED: Final = 1 << 60
"""Version 1 expresses "no limit" as a number larger than any machine's memory."""

FILE_CACHE: Final = ("inactive_file", "active_file")

VMSTAT: Final = Path("/proc/vmstat")


class MemoryUse(NamedTuple):
    used: int
    """Bytes, without the file cache that the kernel reclaims before it kills."""
    limit: int

    @property
    def share(self) -> float:
        return self.used / self.limit


class MemoryGroup:
    """The process's control group and its ancestors: all their limits apply."""

    def __init__(
        self, root: Path = CGROUP, groups: dict[str, str] | None = None, vmstat: Path = VMSTAT
    ) -> None:
        """`groups`: as returned by `own_groups()`."""
        groups = own_groups() if groups is None else groups
        self._v2 = upwards(root, groups.get("", "/"))
        self._v1 = upwards(root / "memory", groups.get("memory", "/"))
        self._vmstat = vmstat

    def tightest(self) -> MemoryUse | None:
        """The limit that is closest to being reached; None without any."""
        found = [
            *(_use(path / "memory.current", path / "memory.max", path / "memory.stat") for path in self._v2),
            *(
                _use(path / "memory.usage_in_bytes", path / "memory.limit_in_bytes", path / "memory.stat")
                for path in self._v1
            ),
        ]
        return max((use for use in found if use is not None), key=lambda use: use.share, default=None)

    def oom_kills(self) -> int:
        """Processes of the group that the kernel has killed for memory; of the whole machine if the group doesn't
        report it."""
        own = self._own_kills()
        return own if own is not None else _field(self._vmstat, "oom_kill") or 0

    def counts_own_kills(self) -> bool:
        """Whether `oom_kills` counts only this group."""
        return self._own_kills() is not None

    def _own_kills(self) -> int | None:
        v2 = _field(self._v2[0] / "memory.events", "oom_kill")
        return v2 if v2 is not None else _field(self._v1[0] / "memory.oom_control", "oom_kill")


def _use(current: Path, limit: Path, stat: Path) -> MemoryUse | None:
    used, most = _number(current), _number(limit)
    if used is None or not most or most >= UNLIMITED:
        return None
    cache = sum(_field(stat, f"total_{name}") or _field(stat, name) or 0 for name in FILE_CACHE)
    return MemoryUse(max(0, used - cache), most)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # not there, or "max"


def _field(path: Path, name: str) -> int | None:
    """A field of a file with a name and a number in each line."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return None
