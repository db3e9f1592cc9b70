"""The server for tests: what it tells of a real server, and that nothing of it is left."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import hsrv.demo
from hsrv.app.apptarget import import_string
from hsrv.common.errors import ExitCode
from hsrv.common.terms import Role
from hsrv.testing import LiveServer

pytestmark = pytest.mark.integration

STUBBORN = """
import asyncio, os, pathlib, signal

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        pid = os.fork()
        if pid == 0:
            os.setsid()  # the server itself leaves those alone
            while True:
                signal.pause()
        pathlib.Path(f"left-{os.getpid()}").write_text(str(pid))
    raise RuntimeError("unsupported")
"""


class Application:
    async def __call__(self, *args: Any) -> None: ...


instance = Application()


def test_it_serves_inside_of_the_block_and_nothing_is_left_after_it() -> None:
    with LiveServer("hsrv.demo:app", workers=2) as server:
        assert httpx.get(f"{server.url}/hello").text == "Hello from hsrv\n"
        assert server.ws_url == f"ws://{server.host}:{server.port}"
        children = server.children()
        assert [(child.role, child.slot) for child in children] == [
            (Role.POOL, 1),
            (Role.TEMPLATE, 0),
            (Role.WORKER, 1),
            (Role.WORKER, 2),
        ]
        assert {child.generation for child in children} == {1}
        who = httpx.get(f"{server.url}/who").json()
        assert who["pid"] in {child.pid for child in server.children("worker")}
        assert server.wait_for_log(lambda entry: entry.get("path") == "/who")["pid"] == who["pid"]
        family = server.seen_processes()
    assert server.stop() == ExitCode.OK
    assert not [process for process in family if process.is_running()]


def test_a_server_that_can_not_start_is_an_error_with_its_words(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"ended with 3(.|\n)*no_such_module"),
        LiveServer("no_such_module:app", cwd=tmp_path),
    ):
        raise AssertionError("it started")


def test_waiting_for_a_line_that_never_comes_ends_with_the_log_so_far() -> None:
    with LiveServer("hsrv.demo:app") as server:
        with pytest.raises(TimeoutError, match="listening"):
            server.wait_for_log(lambda entry: False, timeout=0.1)
        server.process.send_signal(signal.SIGKILL)
        with pytest.raises(RuntimeError, match="ended with -9"):
            server.wait_for_log(lambda entry: False)


def test_what_a_server_leaves_behind_is_killed_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hsrv.testing.STOP_TIMEOUT", 1.0)
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    server = LiveServer("stubborn:app", cwd=tmp_path)
    server.__enter__()
    left = {int(path.read_text()) for path in tmp_path.glob("left-*")}
    assert len(left) == 2
    try:
        with pytest.raises(RuntimeError, match="did not end"):
            server.stop()
        assert not [pid for pid in left if _runs(pid)]
    finally:
        for pid in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


def _runs(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        process.wait(10)
    except psutil.NoSuchProcess:
        return False
    except psutil.TimeoutExpired:
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def test_an_object_is_found_by_the_module_it_is_in() -> None:
    assert import_string("main:app") == "main:app"
    assert import_string(hsrv.demo.app) == "hsrv.demo:app"
    assert import_string(instance) == f"{__name__}:instance"
    with pytest.raises(ValueError, match="import string"):
        import_string(Application())


def test_options_become_flags() -> None:
    server = LiveServer(
        "main:app", stream=["/a", "/b"], access_log=False, server_header=True, keep_alive=5.0, root_path=None
    )
    assert server._command[3:] == [
        *("start", "main:app", "--log-format", "json", "--bind", "127.0.0.1:0"),
        *("--stream", "/a", "--stream", "/b", "--no-access-log", "--server-header", "--keep-alive", "5.0"),
    ]


def test_the_fixture_stops_all_its_servers(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("""
import json, pathlib, httpx

def test_two_servers(hsrv_server):
    servers = [hsrv_server("hsrv.demo:app", workers=1) for _ in range(2)]
    assert [httpx.get(server.url).status_code for server in servers] == [200, 200]
    pathlib.Path("pids").write_text(json.dumps([server.pid for server in servers]))
""")
    others = [part for name in ("cacheprovider", "faker", "anyio") for part in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", *others, "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pids = json.loads((tmp_path / "pids").read_text())
    assert len(pids) == 2
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
