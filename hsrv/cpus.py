"""`--workers auto`: how many workers this machine, or the part of it we may use, can feed."""

import math
import os
from pathlib import Path
from typing import Final

import psutil

from hsrv.config import MIB, Config

WORKER_MEMORY: Final = 128 * MIB
"""What one worker is assumed to need: a framework with its libraries, some of it shared after preloading."""

CGROUP: Final = Path("/sys/fs/cgroup")


def resolve_workers(config: Config) -> tuple[int, str]:
    """The number of workers and, for `auto`, why."""
    if config.workers != "auto":
        return config.workers, ""
    limits = [
        (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, "CPUs"),
        (quota(CGROUP, own_cgroup()), "CPU quota"),
        (
            max(1, memory(CGROUP, own_cgroup()) // WORKER_MEMORY),
            f"memory, at {WORKER_MEMORY // MIB} MiB each",
        ),
    ]
    known = [(count, what) for count, what in limits if count is not None]
    count, what = min(known, key=lambda limit: limit[0])
    return count, f"auto: limited by {what}"


def own_cgroup() -> str:
    """Our path below a cgroup v2 root ("/" inside most containers)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return "/"
    return next((line[3:] for line in lines if line.startswith("0::")), "/")


def _upwards(root: Path, group: str) -> list[Path]:
    """The group's directory and those above it: a limit of any of them binds."""
    path = root / group.lstrip("/")
    return [p for p in (path, *path.parents) if p == root or root in p.parents]


def quota(root: Path, group: str) -> int | None:
    """Whole CPUs that the CPU quota amounts to, at least 1; None without one. cgroup v2, else v1."""
    found = [cpus for path in _upwards(root, group) if (cpus := _quota_v2(path / "cpu.max")) is not None]
    if not found:
        v1 = _quota_v1(root / "cpu")
        found = [] if v1 is None else [v1]
    return max(1, math.floor(min(found))) if found else None


def _quota_v2(path: Path) -> float | None:
    try:
        limit, period = path.read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(path: Path) -> float | None:
    try:
        limit = int((path / "cpu.cfs_quota_us").read_text())
        return None if limit <= 0 else limit / int((path / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def memory(root: Path, group: str) -> int:
    """Bytes that are available to us."""
    found = [int(psutil.virtual_memory().available)]
    for path in [
        *(p / "memory.max" for p in _upwards(root, group)),
        root / "memory" / "memory.limit_in_bytes",
    ]:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue  # not there, or "max"
    return min(found)
