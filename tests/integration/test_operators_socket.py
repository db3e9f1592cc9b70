"""The operator's socket: who is let in, and what strangers, floods and a server that hangs must not do."""

import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from hsrv.operate.client import connected
from hsrv.rpc import operator
from tests.integration.conftest import (
    DEADLINE,
    ROOT,
    Serve,
    operate,
    pids,
    raw_request,
    reload,
    socket_of,
    write_version,
)
from tests.integration.conftest import status_of as status
from tests.integration.wire import Wire, eventually


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_foreign_user_is_denied_by_the_file_and_by_the_server(serve: Serve, tmp_path: Path) -> None:
    server = serve(run_dir=str(tmp_path))
    asking = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "import anyio; anyio.run(anyio.sleep, 0)  # import all that it needs as long as we may\n"
        "from hsrv.operate.client import ask; from hsrv.rpc import operator; from hsrv.common.errors import HsrvError\n"
        "import os; os.setgid(65534); os.setuid(65534)\n"
        "for n in range(5):\n"
        "    try: ask(Path(sys.argv[1]), operator.STOP, operator.StopParams())\n"
        "    except HsrvError as error: denied = error\n"
        "print(denied); sys.exit(denied.exit_code)\n"
    )
    [path] = tmp_path.glob("*.sock")

    def ask_as_nobody() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", asking, str(path), str(ROOT)], capture_output=True, text=True, check=False
        )

    for folder in [tmp_path, *tmp_path.parents][:-1]:
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o755)
    denied = ask_as_nobody()
    assert (denied.returncode, "permission denied" in denied.stdout) == (7, True), denied
    path.chmod(0o666)
    denied = ask_as_nobody()
    assert (denied.returncode, "may not operate" in denied.stdout) == (1, True), denied
    server.wait_for_log(lambda entry: entry["event"] == "operator denied" and entry["count"] == 4)
    lines = [entry for entry in server.logs if entry["event"] == "operator denied"]
    assert [(entry["uid"], entry["count"]) for entry in lines] == [(65534, 1), (65534, 2), (65534, 4)]
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 200


def test_a_server_that_hangs_is_a_bounded_error(serve: Serve) -> None:
    server = serve()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for command in (["status"], ["reload"], ["stop"]):
            done = operate(server, *command, "--answer-timeout", "0.5")
            assert done.returncode == 7
            assert "did not answer" in done.stderr
            assert "stopped" in done.stderr
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_server_that_hangs_in_the_middle_is_a_bounded_error(serve: Serve, code: Path) -> None:
    server = serve("changing:app", app_dir=code)
    write_version(code, "import time; time.sleep(60); VERSION = 'late'")
    command = [sys.executable, "-m", "hsrv", "reload", "--run-dir", server.run_dir]
    command += ["--answer-timeout", "0.5"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as reload:
        assert reload.stderr is not None
        assert "generation 2 starts" in reload.stderr.readline()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert reload.wait(DEADLINE * 2) == 7
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert operate(server, "stop", "--now").returncode == 0


def test_an_operator_that_asks_without_a_pause_hinders_no_change_and_no_request(serve: Serve) -> None:
    server = serve(workers=2)
    asked: list[operator.ServerStatus] = []
    over = threading.Event()

    async def ask_on() -> None:
        async with connected(socket_of(server)) as session:
            while not over.is_set():
                asked.append(await session.ask(operator.STATUS, operator.StatusParams()))

    with ThreadPoolExecutor(1) as flood:
        flooding = flood.submit(anyio.run, ask_on)
        try:
            eventually(lambda: len(asked) > 30, "the flood runs")
            victim = min(pids(server, "worker"))
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: len(pids(server, "worker") - {victim}) == 2, "the worker is replaced")
            reload(server)
            assert operate(server, "scale", "3").returncode == 0
            with Wire(server.host, server.port) as wire:
                assert wire.get("/").status == 200
            before = len(asked)
            eventually(lambda: len(asked) > before, "and the flood is still answered")
        finally:
            over.set()
        flooding.result(DEADLINE)
    assert [one.not_ready_because for one in asked if not one.ready] == []
    assert [entry["event"] for entry in server.logs if entry["level"] in ("warning", "error")] == [
        "process died"
    ]


def test_rubbish_and_silence_on_the_operators_socket_cost_their_sender_only(common: Serve) -> None:
    server = common(workers=2)
    [path] = Path(server.run_dir).glob("*.sock")
    with socket.socket(socket.AF_UNIX) as rude, socket.socket(socket.AF_UNIX) as silent:
        for sock in (rude, silent):
            sock.settimeout(DEADLINE)
            sock.connect(str(path))
        rude.sendall(b"\xff" * 10_000 + b"\n{}\n[]\n" + b'{"jsonrpc":"2.0","id":1,"method":"nothing"}\n')
        assert b"no method 'nothing'" in rude.recv(4096)
        rude.sendall(b'{"jsonrpc":"2.0","id":2,"method":"scale","params":{"workers":"many"}}\n')
        assert b"-32602" in rude.recv(4096)
        assert status(server).ready


def test_operators_beyond_the_limit_are_told(common: Serve) -> None:
    server = common(workers=2)
    [path] = Path(server.run_dir).glob("*.sock")
    socks = [socket.socket(socket.AF_UNIX) for _ in range(32)]
    try:
        for sock in socks:
            sock.connect(str(path))
        done = operate(server, "status")
        assert done.returncode == 1
        assert "32 operators are connected already" in done.stderr
    finally:
        for sock in socks:
            sock.close()
    eventually(lambda: operate(server, "status").returncode == 0, "the places are free again")


def test_an_operators_log_context_of_any_kind_breaks_no_reload(serve: Serve) -> None:
    server = serve()
    log_context = {"n": 10**30, "attempt": 1, "event": "x", "lifespan": True, "level": "no"}
    answer = raw_request(server, method="reload", params={"_meta": {"log": log_context}})
    assert b'"result"' in answer, answer
    assert server.stop() == 0


def test_a_flood_on_the_socket_does_not_keep_the_supervisor_to_itself(serve: Serve) -> None:
    server = serve()
    [path] = Path(server.run_dir).glob("*.sock")
    with socket.socket(socket.AF_UNIX) as flood:
        flood.connect(str(path))
        flood.settimeout(1)
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                try:
                    flood.sendall(b"\n" * 65536)
                except TimeoutError:
                    continue

        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        try:
            assert status(server).ready
            reload(server)
        finally:
            stop.set()
            for writer in writers:
                writer.join()
