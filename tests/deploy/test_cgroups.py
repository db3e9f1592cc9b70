"""`--workers auto` in a real control group with a quota. Beside it tests/unit/system/test_cpus.py has trees of files.

Which version of control groups can be tried is the machine's: the other one is skipped, and says so.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsrv.system.cpus import CGROUP, WORKER_MEMORY, own_groups

ASK = """
import os, sys
for path in sys.argv[1:]:
    open(path, "w").write(str(os.getpid()))
from hsrv.options.config import Config
from hsrv.system.cpus import resolve_workers
print(*resolve_workers(Config(workers="auto")))
"""


@contextlib.contextmanager
def group(parent: Path, limits: dict[str, str]) -> Iterator[Path]:
    """A group of our own with these limits; skips the test where that is not permitted."""
    path = parent / f"hsrv-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made in {parent}: {error.strerror}")
    try:
        for name, value in limits.items():
            try:
                (path / name).write_text(value)
            except OSError as error:
                pytest.skip(f"{path.parent} has no such limit: {name}: {error.strerror}")
        yield path
    finally:
        path.rmdir()


def workers_in(*groups: Path) -> str:
    """What `auto` says of itself in these groups."""
    command = [sys.executable, "-c", ASK, *(str(path / "cgroup.procs") for path in groups)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_the_quota_of_a_real_group_of_version_2_is_seen() -> None:
    if not (CGROUP / "cgroup.controllers").exists():
        pytest.skip("version 2 is not what this machine's controllers are in")
    parent = CGROUP / own_groups().get("", "/").lstrip("/")
    limits = {"cpu.max": "100000 100000", "memory.max": str(3 * WORKER_MEMORY)}
    with group(parent, limits) as path:
        said = workers_in(path)
    assert said.startswith("1 auto: limited by CPU quota")
    assert "MiB each: 3" in said


@pytest.mark.skipif(not (CGROUP / "cpu").is_dir(), reason="version 1 is not mounted here")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU allows one worker anyway")
def test_the_limits_of_real_groups_of_version_1_are_seen() -> None:
    own = own_groups()
    cpu, memory = (CGROUP / name / own.get(name, "/").lstrip("/") for name in ("cpu", "memory"))
    with (
        group(cpu, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}) as first,
        group(memory, {"memory.limit_in_bytes": str(3 * WORKER_MEMORY)}) as second,
    ):
        said = workers_in(first, second)
    assert said.startswith("1 auto: limited by CPU quota")
    assert "MiB each: 3" in said
