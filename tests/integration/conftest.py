"""The real server on a free port, for every test here."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.rpc.operator import ServerStatus
from hsrv.testing import LiveServer
from tests.conftest import PARSER

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 20.0
"""Seconds that any condition may take. A bound against hanging, not a measure."""

Serve = Callable[..., LiveServer]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The file in which `tests.apps.raw` records what happened."""
    return tmp_path / "record"


@pytest.fixture
def serve(record: Path) -> Iterator[Serve]:
    """Start a server; it is stopped after the test, and then nothing of it may be left."""
    servers: list[LiveServer] = []

    def start(app: str = "tests.apps.raw:app", **options: Any) -> LiveServer:
        env = {"RECORD": str(record), "HSRV_HTTP": PARSER, **options.pop("env", {})}
        server = LiveServer(app, env=env, cwd=options.pop("cwd", ROOT), **options)
        server.__enter__()
        servers.append(server)
        return server

    yield start
    family = {process for server in servers for process in server.seen_processes()}
    for server in servers:
        server.__exit__(None, None, None)
    left = [
        process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]
    assert not left, f"left running: {left}"


def pids(server: LiveServer, role: str) -> set[int]:
    """The pids of the living processes of a role, by their titles."""
    found = set()
    for process in psutil.Process(server.pid).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if re.match(rf"hsrv: {role}\b", title):
            found.add(process.pid)
    return found


def descriptors(pid: int) -> list[str]:
    """What /proc says a process holds open."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return sorted(links)


def status_of(server: LiveServer) -> ServerStatus:
    """What `hsrv status --json` prints, without a process of its own: for conditions that are asked again and again."""
    return ask(find(Target(server.run_dir)), operator.STATUS, operator.StatusParams())


def reload(server: LiveServer, *, wait: bool = False) -> None:
    """What `hsrv reload` does, in the same way."""
    ask(find(Target(server.run_dir)), operator.RELOAD, operator.ReloadParams(wait=wait))


def is_busy_with(server: LiveServer, path: str) -> bool:
    """Whether a status shows that a request of this path runs."""
    processes = [one for generation in status_of(server).generations for one in generation.processes]
    return any(one.path == path for process in processes if process.report for one in process.report.oldest)


def is_stuck(server: LiveServer) -> bool:
    """Whether a process of the first generation gives no answer."""
    return not all(one.answers for one in status_of(server).generations[0].processes)


def reasons(server: LiveServer) -> Counter[str]:
    """Why connections left the processes that live, in all of them together."""
    processes = [one for generation in status_of(server).generations for one in generation.processes]
    return sum((Counter(one.report.ended) for one in processes if one.report is not None), Counter())


def hsrv(*arguments: str, cwd: Path = ROOT, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the command, which is expected to end by itself, and see that nothing of its session is left running."""
    options["env"] = {**os.environ, **options.get("env", {})}
    with subprocess.Popen(
        [sys.executable, "-m", "hsrv", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    ) as process:
        stdout, stderr = process.communicate(timeout=60)
    left = [pid for pid in psutil.pids() if session_of(pid) == process.pid]
    assert not left, left
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
