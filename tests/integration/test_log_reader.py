"""A reader of the log that sleeps: the server goes on, and says afterwards what was lost."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.rpc.operator import ServerStatus
from tests.integration.conftest import DEADLINE
from tests.integration.wire import eventually, request

APP = """
printed = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    if scope["path"] == "/awake" and not printed:
        printed.append(True)
        print("left in the buffer" * 400)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"fine"})
"""

OPTIONS = ["--workers", "2", "--log-format", "json", "--bind", "unix:app", "--admin", "unix:admin"]

FLOOD = 400
"""Requests whose lines are more than any pipe, socket or terminal holds."""


class Unread:
    """A server whose standard output and error nobody reads, unless the test does."""

    def __init__(self, folder: Path, theirs: int, ours: int) -> None:
        self._ours = ours
        self._folder = folder
        (folder / "unread.py").write_text(APP)
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hsrv", "start", "unread:app", *OPTIONS],
            cwd=folder,
            env={**env, "HSRV_RUN_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL
            if os.isatty(theirs)
            else theirs,  # there print() writes at once, and waits
            stderr=theirs,
        )
        eventually(self._serves, "it serves")

    def _serves(self) -> bool:
        try:
            return self.status().generations[0].state == "serving"
        except Exception:
            assert self.process.poll() is None
            return False

    def get(self, target: str, door: str = "app") -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE)
            sock.connect(str(self._folder / door))
            sock.sendall(request(target, "Connection: close"))
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def flood(self) -> None:
        for _ in range(FLOOD):
            assert b"fine" in self.get("/?" + "x" * 6000)

    def status(self) -> ServerStatus:
        return ask(find(Target(str(self._folder))), operator.STATUS, operator.StatusParams())

    def read(self) -> list[bytes]:
        """The lines that there are by now."""
        os.set_blocking(self._ours, False)
        data = b""
        while True:
            try:
                data += os.read(self._ours, 1 << 20)
            except BlockingIOError:
                return data.splitlines()

    def kill(self) -> None:
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for process in family:
                process.kill()
        self.process.wait()


@pytest.fixture(params=["pipe", "socket", "terminal"])
def unread(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Unread]:
    with ExitStack() as stack:
        if request.param == "socket":
            ours, theirs = (one.detach() for one in socket.socketpair())
        else:
            ours, theirs = pty.openpty() if request.param == "terminal" else os.pipe()
        stack.callback(os.close, ours)
        stack.callback(os.close, theirs)
        server = Unread(tmp_path, theirs, ours)
        stack.callback(server.kill)
        yield server
        assert os.get_blocking(theirs), "others write there too"


def test_a_reader_that_sleeps_costs_lines_and_nothing_else(unread: Unread) -> None:
    unread.flood()
    assert unread.get("/readyz", "admin").startswith(b"HTTP/1.1 200")
    unread.process.send_signal(signal.SIGHUP)
    eventually(lambda: [one.number for one in unread.status().generations] == [2], "it has reloaded")
    unread.flood()

    unread.read()
    lines: list[dict[str, object]] = []

    def read() -> list[dict[str, object]]:
        lines.extend(json.loads(line) for line in unread.read() if line.endswith(b"}"))
        return lines

    def told() -> list[object]:
        assert unread.get("/awake").endswith(b"fine")
        read()
        return [
            line["count"] for line in lines if line["event"] == "log lines lost" and line["role"] == "worker"
        ]

    [count, *_] = eventually(told, "it says how many lines were lost")
    assert int(count) > 10

    def logged() -> bool:
        unread.get("/awake")
        return "/awake" in [line.get("path") for line in read()]

    eventually(logged, "what comes then is logged")

    unread.flood()
    unread.process.send_signal(signal.SIGTERM)
    assert unread.process.wait(DEADLINE) == 0
