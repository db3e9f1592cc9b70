"""The real server on a free port, for every test here."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import psutil
import pytest

from hsrv import cli, starting
from hsrv.common.errors import HsrvError
from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.rpc.operator import ReloadResult, ServerStatus
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
    stop(servers)


@pytest.fixture(scope="module")
def common_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `record` is for those of `common`, all in one: who looks for a line gives it a key of its own."""
    return tmp_path_factory.mktemp("common") / "record"


@pytest.fixture(scope="module")
def common(common_record: Path) -> Iterator[Serve]:
    """A server for all tests of a file that ask for the same one: for those that leave it as they found it, and are
    content with a log that others write to as well."""
    servers: dict[str, LiveServer] = {}

    def start(app: str = "tests.apps.raw:app", **options: Any) -> LiveServer:
        wanted = repr((app, sorted(options.items())))
        if wanted not in servers:
            env = {"RECORD": str(common_record), "HSRV_HTTP": PARSER}
            server = LiveServer(app, env=env, cwd=ROOT, **options)
            servers[wanted] = server.__enter__()
        return servers[wanted]

    yield start
    stop(list(servers.values()))


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The folder of an application, changing:app, that answers with its version and can be changed."""
    folder = tmp_path / "code"
    folder.mkdir()
    write_version(folder, "VERSION = 'one'")
    return folder


def write_version(folder: Path, head: str) -> None:
    (folder / "changing.py").write_text(
        f"{head}\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        raise RuntimeError('no lifespan')\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': VERSION.encode()})\n"
    )


def stop(servers: list[LiveServer]) -> None:
    """All of them, and then nothing of them may be left."""
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


@contextmanager
def workers_only(server: LiveServer) -> Iterator[None]:
    """The pool accepts nothing meanwhile, however little CPU the workers get."""
    pools = [psutil.Process(pid) for pid in pids(server, "pool")]
    for pool in pools:
        pool.suspend()
    try:
        yield
    finally:
        for pool in pools:
            pool.resume()


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


def reload(server: LiveServer, *, wait: bool = False) -> ReloadResult:
    """What `hsrv reload` does, in the same way."""
    return ask(find(Target(server.run_dir)), operator.RELOAD, operator.ReloadParams(wait=wait))


def operate(server: LiveServer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What the command prints about this server and how it ends."""
    name, *others = arguments
    return command_line(name, "--run-dir", server.run_dir, *others)


def command_line(name: str, *others: str) -> "subprocess.CompletedProcess[str]":
    """What a command prints and how it ends: all of it but a process of its own, which costs half as much as a server.
    Beside `hsrv` below, which has one."""
    arguments = (name, *others)
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            cli.command_line(name)(arguments, prog_name="hsrv")
        except HsrvError as error:
            code = int(starting.report(error))
        except SystemExit as end:
            assert isinstance(end.code, int)
            code = end.code
        else:
            raise AssertionError("typer always ends so")
    return subprocess.CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())


def socket_of(server: LiveServer) -> Path:
    """The operator's."""
    return find(Target(server.run_dir))


def raw_request(server: LiveServer, **message: Any) -> bytes:
    """What an operator that isn't ours is answered, as a line."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(str(socket_of(server)))
        sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, **message}).encode() + b"\n")
        with sock.makefile("rb") as lines:
            return next(line for line in lines if b'"id":1,"result"' in line or b'"id":1,"error"' in line)


def parked(server: LiveServer) -> int:
    """How many connections stand in the parking lots."""
    processes = [one for generation in status_of(server).generations for one in generation.processes]
    return sum(one.report.parked for one in processes if one.role == "pool" and one.report is not None)


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
