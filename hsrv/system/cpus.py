"""`--workers auto`: how many workers fit the CPUs and memory that this process may use."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from hsrv.options.config import MIB, Config

WORKER_MEMORY: Final = 128 * MIB
"""Assumed need of one worker: a framework with its libraries, partly shared after preloading."""

CGROUP: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")


def resolve_workers(config: Config) -> tuple[int, str]:
    """The number of workers and, for `auto`, the reason: the limiting resource, and what the others would allow."""
    if config.workers != "auto":
        return config.workers, ""
    groups = own_groups()
    v2 = groups.get("", "/")
    limits = {
        "CPUs": _cpus(),
        "CPU quota": quota(CGROUP, v2, groups.get("cpu", "/")),
        f"memory at {WORKER_MEMORY // MIB} MiB each": max(
            1, memory(CGROUP, v2, groups.get("memory", "/")) // WORKER_MEMORY
        ),
    }
    return least(limits)


def least(limits: Mapping[str, int | None]) -> tuple[int, str]:
    """The lowest of the known limits (the first of equal ones), and a sentence about all of them."""
    known = {what: count for what, count in limits.items() if count is not None}
    what = min(known, key=lambda name: known[name])
    others = ", ".join(f"{name}: {count}" for name, count in known.items() if name != what)
    return known[what], f"auto: limited by {what}" + (f"; {others}" if others else "")


def _cpus() -> int:
    """CPUs of the affinity mask if the system has one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# cgroups: version 2 has one hierarchy, version 1 one per controller


def own_groups(path: Path = OWN_GROUPS) -> dict[str, str]:
    """Controller to the process's path below its root; "" is version 2. Inside most containers the path is "/", or one
    that only the host sees: then only the root can be read, and it is this process's group."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        _, controllers, group = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), group))
    return found


def upwards(root: Path, group: str) -> list[Path]:
    """The group's directory and its ancestors: all their limits apply."""
    path = root / group.lstrip("/")
    return [p for p in (path, *path.parents) if p == root or root in p.parents]


def quota(root: Path, group: str, group_v1: str = "/") -> int | None:
    """Whole CPUs that the CPU quota amounts to, at least 1; None without one."""
    found = [
        *(_quota_v2(path / "cpu.max") for path in upwards(root, group)),
        *(_quota_v1(path) for path in upwards(root / "cpu", group_v1)),
    ]
    known = [cpus for cpus in found if cpus is not None]
    return max(1, math.floor(min(known))) if known else None


def _quota_v2(path: Path) -> float | None:
    try:
        limit, period = path.read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(path: Path) -> float | None:
    try:
        limit = int((path / "cpu.cfs_quota_us").read_text())
        return None if limit <= 0 else limit / int((path / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None


def memory(root: Path, group: str, group_v1: str = "/") -> int:
    """Bytes that this process may use: available memory, or the lowest limit of its groups if that is less."""
    files = [
        *(path / "memory.max" for path in upwards(root, group)),
        *(path / "memory.limit_in_bytes" for path in upwards(root / "memory", group_v1)),
    ]
    found = [int(psutil.virtual_memory().available)]
    for path in files:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue  # not there, or "max"
    return min(found)
