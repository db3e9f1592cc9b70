"""In a control group with a memory limit: the largest worker is replaced in time; one that the kernel kills is told."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import DEADLINE, Serve, pids
from tests.integration.test_healing import APP, Clients, is_cut, sent, status
from tests.integration.wire import Wire, eventually

MIB = 1 << 20
LIMIT = 320 * MIB
ROOT = Path("/sys/fs/cgroup")


@contextmanager
def limited_group() -> Iterator[Path]:
    """A control group with a limit, of version 2 or 1. Skips where none can be made."""
    v1 = (ROOT / "memory").is_dir()
    parent = ROOT / "memory" if v1 else ROOT
    group = parent / f"hsrv-test-{os.getpid()}"
    try:
        group.mkdir()
        try:
            (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(LIMIT))
        except OSError:
            group.rmdir()
            raise
    except OSError as error:
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    try:
        yield group
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
        group.rmdir()


@contextmanager
def inside(group: Path) -> Iterator[None]:
    """What is started meanwhile belongs to the group."""
    procs = group / "cgroup.procs"
    procs.write_text(str(os.getpid()))
    try:
        yield
    finally:
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))


@pytest.fixture
def group() -> Iterator[Path]:
    with limited_group() as group:
        yield group


@pytest.fixture
def serve_inside(group: Path, serve: Serve) -> Serve:  # `group` first: it can go when the server is gone
    def start(*arguments: Any, **options: Any) -> LiveServer:
        with inside(group):
            return serve(*arguments, **options)

    return start


def test_a_worker_that_the_kernel_kills_for_memory_is_told_as_such(serve_inside: Serve) -> None:
    server = serve_inside(APP, workers=2, memory_pressure=0)
    with sent(server, f"/leak?mib={LIMIT // MIB}") as wire:
        assert is_cut(wire)
    death = server.wait_for_log(lambda entry: entry["event"] == "process died")
    assert "out of memory" in death["reason"]
    assert status(server)["deaths"] == {"worker out_of_memory": 1}
    eventually(lambda: len(pids(server, "worker")) == 2, "it is replaced")


def test_the_kernel_is_told_whom_to_kill_first(serve: Serve) -> None:
    server = serve(APP, workers=1)
    roles = ("worker", "pool", "template")
    [worker], [pool], [template] = (pids(server, role) for role in roles)
    scores = [
        int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (worker, pool, template, server.pid)
    ]
    assert scores[0] > scores[1] > scores[2] == scores[3]


def test_the_largest_worker_is_replaced_before_the_kernel_kills_one(serve_inside: Serve) -> None:
    server = serve_inside(APP, workers=2, memory_pressure=0.8)
    first = pids(server, "worker")
    with Clients(server) as clients, Wire(server.host, server.port) as wire:

        def leak() -> bool:
            """Not faster than the look-out looks: 64 MiB are left when the pressure begins."""
            time.sleep(0.05)
            assert wire.get("/leak?mib=1").status == 200
            return any(entry["event"] == "recycling" for entry in server.logs)

        assert wire.get("/leak?mib=64").status == 200  # far from the pressure yet
        eventually(leak, "the pressure is noticed", deadline=2 * DEADLINE)
        eventually(lambda: first - pids(server, "worker"), "the largest is gone")
    assert clients.wrong == []
    why = server.wait_for_log(lambda entry: entry["event"] == "recycling")["why"]
    assert "--memory-pressure" in why
    assert status(server)["deaths"] == {}
