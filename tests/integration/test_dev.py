"""`hsrv dev`: what it writes, and where it serves."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from hsrv.common.errors import ExitCode
from tests.integration.conftest import DEADLINE, ROOT
from tests.integration.wire import eventually

APP = """
import json, logging

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    if scope["path"] == "/log":
        logging.getLogger("shop").warning("sold %d", 3)
    if scope["path"] == "/bad":
        json.loads("{")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""

COMMAND = """
import signal
from hsrv.__main__ import main
signal.signal(signal.SIGINT, signal.SIG_IGN)
main()
"""
"""The command as a shell starts it in the background: `kill -INT` counts nevertheless."""


class Dev:
    """`hsrv dev` in a folder."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.process = process

    @property
    def lines(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    def added(self, before: int, last: str) -> list[str]:
        """The lines after the first `before`, once one of them matches."""
        eventually(lambda: any(re.search(last, line) for line in self.lines[before:]), f"a line {last}")
        return self.lines[before:]


@contextmanager
def dev(folder: Path, *options: str) -> Iterator[Dev]:
    (folder / "main.py").write_text(APP)
    (folder / "hsrv.toml").write_text("workers = 4\nbind = '0.0.0.0:80'\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "dev", "--port", "0", *options],
            cwd=folder,
            env={**os.environ, "HSRV_RUN_DIR": str(folder / "run"), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        yield Dev(folder, process)
    finally:
        process.kill() if process.poll() is None else None
        process.wait(DEADLINE)


def test_it_writes_two_lines_at_the_start_one_per_request_one_per_save_and_short_tracebacks(
    tmp_path: Path,
) -> None:
    with dev(tmp_path) as started:
        first, second = started.added(0, "Ctrl-C")
        url = re.fullmatch(r"hsrv \S+  (http://127\.0\.0\.1:\d+)  main:app", first)
        assert url is not None, first
        assert second == f"watching {tmp_path} and what it imports; Ctrl-C stops"
        with httpx.Client(base_url=url[1], timeout=DEADLINE) as client:
            assert client.get("/x?y=1").text == "ok"
            (line,) = started.added(2, "200")
            assert re.fullmatch(r"200 GET /x\?y=1  \d+\.\d ms", line), line

            client.get("/log")
            warned, _ = started.added(3, "200")
            assert warned == "warning  shop: sold 3"

            client.get("/bad")
            error, why, where, code, more, line = started.added(5, "^500")
            assert error == "error    application raised  method=GET  path=/bad"
            assert why.startswith("    json.decoder.JSONDecodeError: Expecting property name")
            assert (where.strip(), code.strip()) == ("main.py:10 in app", 'json.loads("{")')
            assert re.fullmatch(r" +\(\d more frames: -v shows them\)", more)

            before = len(started.lines)
            (tmp_path / "main.py").write_text(APP.replace("ok", "OK"))
            (line,) = started.added(before, "reloaded")
            assert re.fullmatch(r"reloaded main\.py in \d\.\d\d s", line), line
            assert client.get("/").text == "OK"
            started.added(before, "^200")

            before = len(started.lines)
            (tmp_path / "main.py").write_text(f"{APP}x(\n")
            started.added(before, "the code is broken")
            assert client.get("/").status_code == 500
            broken = started.added(before, "^500")
            assert broken[0].startswith("error    the code is broken: main can't be imported: '(' was never")
            assert [line.strip() for line in broken[2:5]] == ["main.py:13", "x(", "^"]
            assert len(broken) == 6
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(DEADLINE) == ExitCode.OK


def test_details_come_with_v(tmp_path: Path) -> None:
    with dev(tmp_path, "-v") as started:
        started.added(0, "stop with Ctrl-C")
        assert [line for line in started.lines if "imported" in line]
