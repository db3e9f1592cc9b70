"""`--log-file` and `--access-log-file`, rotated under load as logrotate does it."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from hsrv.common.errors import ExitCode
from tests.integration.conftest import DEADLINE, ROOT, Serve, hsrv
from tests.integration.wire import Wire, eventually

REQUESTS = 200
CLIENTS = 4
ROTATIONS = 5


def test_rotation_loses_no_line_under_load(serve: Serve, tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    server = serve(workers=2, access_log_file=str(access))
    done: list[int] = []

    def ask() -> None:
        with Wire(server.host, server.port) as wire:
            while len(done) < REQUESTS * CLIENTS or not finished.is_set():
                assert wire.get("/").status == 200
                done.append(1)

    finished = threading.Event()
    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    kept: list[tuple[Path, bytes]] = []
    for number in range(
        ROTATIONS
    ):  # rename, signal, compress: what is written to the old file after that is lost
        eventually(lambda: access.exists() and access.stat().st_size, "there are lines")
        old = access.rename(tmp_path / f"access.{number}")
        os.kill(server.pid, signal.SIGUSR1)
        eventually(access.exists, "lines go to a new file")
        kept.append((old, gzip.compress(old.read_bytes())))
    finished.set()
    for client in clients:
        client.join()
    server.wait_for_log(lambda entry: entry["event"] == "nothing to reopen")
    assert server.stop() == ExitCode.OK
    lines = b"".join([*(gzip.decompress(text) for _, text in kept), access.read_bytes()]).splitlines()
    assert sum(json.loads(line)["path"] == "/" for line in lines) == len(done)
    assert not [entry for entry in server.logs if entry["event"] == "request"], "they are only there"


def test_all_lines_go_to_the_file_and_requests_to_standard_output(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    options = ["-b", f"unix:{tmp_path}/socket", "--log-file", str(log), "--access-logfile", "-"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hsrv", "start", "tests.apps.raw:app", *options],
        cwd=ROOT,
        env={**os.environ, "HSRV_RUN_DIR": str(tmp_path / "run")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        eventually(lambda: log.exists() and '"listening"' in log.read_text(), "it serves")
        with httpx.Client(transport=httpx.HTTPTransport(uds=f"{tmp_path}/socket")) as client:
            assert client.get("http://host/").status_code == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert err == b""
    assert [json.loads(line)["path"] for line in out.splitlines()] == ["/"]
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert {"imported", "ready", "listening", "stopping", "process ended"} <= set(events)


def test_a_file_that_can_not_be_opened_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "none" / "log"
    said = hsrv("start", "tests.apps.raw:app", "--access-log-file", str(path))
    assert said.returncode == ExitCode.USAGE
    assert said.stderr == f"hsrv: access_log_file {path}: can't be opened: No such file or directory\n"
