"""hsrv as PID 1 of a PID namespace, as in a container without an init: it reaps orphans and hears signals."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from hsrv.common.errors import ExitCode
from tests.conftest import LONG
from tests.deploy.nginx import free_port
from tests.integration.conftest import DEADLINE
from tests.integration.wire import eventually

APP = '''
import subprocess

async def app(scope, receive, send):
    """Each request leaves a process behind whose parent ends at once."""
    if scope["type"] == "http":
        subprocess.run(["/bin/sh", "-c", "sleep 1 & "], check=True)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"left"})
'''


def can_unshare() -> str:
    """Why not, or ""."""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "true"], capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    return done.stderr.strip()


@pytest.mark.skipif(sys.platform != "linux" or bool(can_unshare()), reason="no PID namespaces to be had here")
@pytest.mark.parametrize("signum", [signal.SIGTERM, *([signal.SIGINT] if LONG else [])])
def test_orphans_are_reaped_and_signals_arrive(tmp_path: Path, signum: signal.Signals) -> None:
    (tmp_path / "orphans.py").write_text(APP)
    port = free_port()
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        "-m",
        "hsrv",
        "start",
    ]
    command += ["orphans:app", "--app-dir", str(tmp_path), "--bind", f"127.0.0.1:{port}", "--workers", "2"]
    environ = {**os.environ, "HSRV_RUN_DIR": str(tmp_path / "run")}
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: answer(port) == b"left", "it serves")
            server = psutil.Process(process.pid).children()[0]
            for _ in range(5):
                assert answer(port) == b"left"
            eventually(lambda: len(sleepers(server)) >= 5, "what lost its parent belongs to the server")
            eventually(lambda: not sleepers(server), "and is reaped")
            server.send_signal(signum)
            assert process.wait(DEADLINE) == ExitCode.OK
        finally:
            process.kill()


def answer(port: int) -> bytes:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=DEADLINE).content
    except httpx.TransportError:
        return b""


def sleepers(server: psutil.Process) -> list[psutil.Process]:
    """Its descendants that are none of the server's processes, running or dead."""
    found = []
    for child in server.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # reaped meanwhile
            if child.name() == "sleep":
                found.append(child)
    return found
