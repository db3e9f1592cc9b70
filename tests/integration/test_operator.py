"""Each of the operator's commands against the real server, and whoever is not let in."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.testing import LiveServer
from tests.integration.conftest import DEADLINE, ROOT, Serve, hsrv, is_busy_with, is_stuck, pids
from tests.integration.conftest import status_of as status
from tests.integration.wire import Wire, eventually, request

EVENT_STREAM = "Accept: text/event-stream"

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def run(server: LiveServer, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return hsrv(*arguments, env={"HSRV_RUN_DIR": server.run_dir}, **options)


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveServer]:
    """For tests that leave it as they found it."""
    with LiveServer("tests.apps.raw:app", cwd=ROOT, workers=2) as server:
        yield server


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """An application that answers with its version and can be changed."""
    folder = tmp_path / "code"
    folder.mkdir()
    write_version(folder, "VERSION = 'one'\n")
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


# status


def test_status_shows_processes_listeners_and_streams(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as stream:
        stream.send(request("/sse", EVENT_STREAM))
        stream.until(b"\n\n")
        done = run(server, "status", "--json")
        assert done.returncode == 0, done.stderr
        found = msgspec.json.decode(done.stdout, type=operator.ServerStatus)
        [generation] = found.generations
        assert (found.pid, found.ready, found.phase, found.workers) == (server.pid, True, "running", 2)
        assert [one.url for one in found.listeners] == [server.url]
        assert {one.name: one.pid for one in generation.processes} == {
            f"{child.role}-{child.slot}": child.pid for child in server.children() if child.role != "template"
        }
        pool = generation.processes[0]
        assert pool.report is not None
        assert [(path, one.count) for path, one in pool.report.streams.items()] == [("/sse", 1)]
        assert [(one.kind, one.path, one.method) for one in pool.report.oldest] == [("stream", "/sse", "GET")]
        assert pool.report.handoffs_received == 1
        assert all(one.rss and one.state == "serving" and one.answers for one in generation.processes)
        text = run(server, "status").stdout
        for word in ("worker-1", "worker-2", "pool-1", "/sse", server.url, "serving", "ready"):
            assert word in text


def test_status_tells_what_a_worker_is_at_and_that_a_busy_one_does_not_answer(serve: Serve) -> None:
    server = serve(workers=2, graceful_timeout=1, lifespan_shutdown_timeout=1)
    with Wire(server.host, server.port) as waiting, Wire(server.host, server.port) as busy:
        waiting.send(request("/sleep?s=20"))
        eventually(lambda: is_busy_with(server, "/sleep"), "the request is known")
        assert "GET /sleep for" in run(server, "status").stdout
        busy.send(request("/spin"))
        eventually(lambda: is_stuck(server), "it is busy")
        assert "no answer" in run(server, "status").stdout
        [silent] = [one for one in status(server).generations[0].processes if not one.answers]
        assert silent.role == "worker"
        assert silent.report is None


def test_status_why_names_what_a_drain_waits_for(serve: Serve) -> None:
    server = serve(workers=1, stream_grace=30)
    with Wire(server.host, server.port) as stream:
        stream.send(request("/sse", EVENT_STREAM))
        stream.until(b"\n\n")
        assert "nothing drains" in run(server, "status", "--why").stdout
        assert run(server, "reload").returncode == 0
        why = run(server, "status", "--why").stdout
        assert "pool-1 of generation 1" in why
        assert "stream GET /sse for" in why
        assert "from 127.0.0.1:" in why


def test_status_ready_is_an_exit_code(shared: LiveServer) -> None:
    server = shared
    assert run(server, "status", "--ready").returncode == 0
    assert run(server, "drain").stdout == "not ready: drained by the operator\n"
    done = run(server, "status", "--ready")
    assert done.returncode == 1
    assert "drained by the operator" in done.stderr
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 200, "only readiness is gone"
    assert run(server, "undrain").stdout == "ready\n"
    assert run(server, "status", "--ready").returncode == 0


def test_status_watch_goes_on_until_it_is_stopped(shared: LiveServer) -> None:
    server = shared
    command = [sys.executable, "-m", "hsrv", "status", "--watch", "--json", "--run-dir", server.run_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        uptimes = [json.loads(watch.stdout.readline())["uptime"] for _ in range(3)]
        assert uptimes == sorted(set(uptimes))
        watch.send_signal(signal.SIGINT)
        assert "Traceback" not in watch.communicate(timeout=DEADLINE)[1]


# reload


def test_reload_tells_its_steps_and_ends_when_the_new_code_serves(serve: Serve, code: Path) -> None:
    server = serve("changing:app", app_dir=code, workers=2)
    write_version(code, "VERSION = 'two'")
    done = run(server, "reload", "--wait")
    assert done.returncode == 0, done.stderr
    assert "generation 2 serves" in done.stdout
    assert "3 of 3 processes ready" in done.stderr
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").body == b"two"
    assert [one.number for one in status(server).generations] == [2]


def test_a_reload_that_fails_exits_1_with_the_traceback_and_the_old_code_goes_on(
    serve: Serve, code: Path
) -> None:
    server = serve("changing:app", app_dir=code)
    for broken, told in (
        ("VERSION =", "SyntaxError"),
        ("import nowhere", "nowhere"),
        ("1 / 0", "ZeroDivisionError"),
        ("import os; os._exit(3)", "exited with code 3"),
    ):
        write_version(code, broken)
        done = run(server, "reload")
        assert done.returncode == 1
        assert told in done.stderr
        assert "changing.py" in done.stderr or "_exit" in broken
        with Wire(server.host, server.port) as wire:
            assert wire.get("/").body == b"one"
    write_version(code, "VERSION = 'mended'")
    assert run(server, "reload").returncode == 0
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").body == b"mended"


def test_reloads_at_the_same_time_share_one(serve: Serve) -> None:
    server = serve()
    with_reload = [
        subprocess.Popen(
            [sys.executable, "-m", "hsrv", "reload", "--run-dir", server.run_dir],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ids = {process.communicate(timeout=DEADLINE * 2)[0] for process in with_reload}
    assert [process.returncode for process in with_reload] == [0] * 4
    assert len(ids) <= 3
    assert status(server).generations[-1].number <= 5


def test_one_reload_id_is_in_the_logs_of_every_process_of_it(serve: Serve) -> None:
    server = serve(workers=2)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(lambda entry: entry["event"] == "reloaded")
    eventually(lambda: len(server.children("template")) == 1, "the old generation is gone")
    [reload_id] = {entry["reload_id"] for entry in server.logs if "reload_id" in entry}
    where = {
        (entry["role"], entry.get("slot"), entry.get("generation"), entry["event"])
        for entry in server.logs
        if entry.get("reload_id") == reload_id
    }
    assert {
        ("supervisor", None, 2, "reloading"),
        ("template", 0, 2, "imported"),
        ("pool", 1, 2, "ready"),
        ("worker", 1, 2, "ready"),
        ("worker", 2, 2, "ready"),
        ("supervisor", None, 2, "reloaded"),
        ("pool", 1, 1, "draining"),
        ("worker", 1, 1, "draining"),
        ("worker", 2, 1, "draining"),
        ("supervisor", None, 1, "process ended"),
    } <= where
    with Wire(server.host, server.port) as wire:
        wire.get("/after")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(lambda entry: entry.get("reload_id", reload_id) != reload_id)
    later = server.wait_for_log(
        lambda entry: entry.get("target") == "/after" or entry.get("path") == "/after"
    )
    assert "reload_id" not in later, "the rest of a process's life is another story"


# processes


def test_scale_up_and_down(serve: Serve) -> None:
    server = serve(workers=1)
    assert run(server, "scale", "+2").stdout == "3 workers (before: 1)\n"
    assert len(pids(server, "worker")) == 3
    assert run(server, "scale", "-1").stdout == "2 workers (before: 3)\n"
    assert run(server, "scale", "4").returncode == 0
    eventually(lambda: len(pids(server, "worker")) == 4, "four workers")
    refused = run(server, "scale", "0")
    assert (refused.returncode, "one worker is the least" in refused.stderr) == (1, True)
    assert run(server, "scale", "many").returncode == 2


def test_restart_worker_replaces_the_process_of_a_slot(serve: Serve) -> None:
    server = serve(workers=2)
    before = {child.slot: child.pid for child in server.children("worker")}
    with Wire(server.host, server.port) as kept:
        kept.get("/")
        done = run(server, "restart-worker", "1")
        assert done.returncode == 0, done.stderr
        eventually(lambda: before[1] not in pids(server, "worker"), "the old one is gone")
        after = {child.slot: child.pid for child in server.children("worker")}
        assert after.keys() == before.keys()
        assert (after[1] != before[1], after[2]) == (True, before[2])
        assert kept.get("/").status == 200, "its connections have moved"
    unknown = run(server, "restart-worker", "7")
    assert (unknown.returncode, "no worker-7" in unknown.stderr) == (1, True)


def test_scaling_and_restarting_under_load_drop_no_request(serve: Serve) -> None:
    server = serve(workers=2)
    with load(server) as failures:
        for command in (["scale", "+2"], ["restart-worker", "1"], ["scale", "1"], ["restart-worker", "1"]):
            assert run(server, *command).returncode == 0
    assert failures == []


@contextmanager
def load(server: LiveServer) -> Iterator[list[str]]:
    """Clients on kept connections; yields what went wrong."""
    wrong: list[str] = []
    stop, served = threading.Event(), threading.Barrier(9)

    def client() -> None:
        try:
            with Wire(server.host, server.port) as wire:
                wire.get("/")
                served.wait(DEADLINE)
                while not stop.is_set():
                    if wire.get("/").status != 200:
                        wrong.append("status")
        except (OSError, EOFError) as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    served.wait(DEADLINE)
    try:
        yield wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_log_level_reaches_every_process_and_those_that_come(serve: Serve) -> None:
    server = serve(workers=1)
    assert run(server, "log-level", "error").returncode == 0
    assert run(server, "restart-worker", "1").returncode == 0
    eventually(lambda: len(pids(server, "worker")) == 1, "the old one is gone")
    assert [entry for entry in server.logs if entry["event"] in ("draining", "process ended")] == []
    assert run(server, "log-level", "info").returncode == 0
    assert run(server, "restart-worker", "1").returncode == 0
    server.wait_for_log(lambda entry: (entry["event"], entry.get("role")) == ("draining", "worker"))
    assert run(server, "reload").returncode == 0
    server.wait_for_log(lambda entry: (entry["event"], entry.get("generation")) == ("ready", 2))
    assert status(server).log_level == "info"
    assert run(server, "log-level", "loud").returncode == 2


def test_stop_ends_the_server_and_waits_for_it(serve: Serve) -> None:
    server = serve()
    done = run(server, "stop")
    assert (done.returncode, done.stdout) == (0, "stopped\n")
    assert server.process.wait(DEADLINE) == 0


def test_stop_says_what_it_waits_for_and_now_waits_for_nobody(serve: Serve) -> None:
    server = serve(workers=1)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/sleep?s=25"))
        eventually(lambda: is_busy_with(server, "/sleep"), "the request runs")
        command = [sys.executable, "-m", "hsrv", "stop", "--run-dir", server.run_dir]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as stopping:
            assert stopping.stderr is not None
            assert "waiting for 1 request" in stopping.stderr.readline()
            assert "worker-1 of generation 1" in run(server, "status", "--why").stdout
            assert run(server, "stop", "--now").returncode == 0
            assert stopping.wait(DEADLINE) == 0
    assert server.process.wait(DEADLINE) == 5


def test_prestop_waits_until_new_connections_stop(serve: Serve) -> None:
    server = serve(workers=1)
    stop = threading.Event()

    def newcomers() -> None:
        while not stop.is_set():
            with Wire(server.host, server.port) as wire:
                wire.get("/")

    client = threading.Thread(target=newcomers)
    client.start()
    try:
        busy = run(server, "prestop", "--delay", "0", "--quiet", "1", "--timeout", "1.5")
    finally:
        stop.set()
        client.join()
    assert busy.returncode == 0
    assert "still arrive" in busy.stdout
    assert status(server).not_ready_because == "drained by the operator"
    calm = run(server, "prestop", "--delay", "0", "--quiet", "0.2", "--timeout", "15")
    assert "no new connections" in calm.stdout


def test_prestop_can_end_the_streams_while_requests_are_served(serve: Serve) -> None:
    server = serve(workers=1, stream_grace=0.5)
    with (
        Wire(server.host, server.port) as stream,
        Wire(server.host, server.port) as plain,
        connect(f"{server.ws_url}/ws?hello") as websocket,
    ):
        websocket.recv()
        stream.send(request("/sse?halves", EVENT_STREAM))
        first = stream.head()
        done = run(server, "prestop", "--delay", "0", "--quiet", "0.1", "--timeout", "5", "--end-streams")
        assert done.returncode == 0, done.stderr
        events = stream.chunked()
        assert first.status == 200
        assert events.endswith(b"\n\n"), "an event stream ends at an event boundary"
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=DEADLINE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert plain.get("/").status == 200
    assert server.process.poll() is None
    with Wire(server.host, server.port) as late:
        late.send(request("/sse?n=2", EVENT_STREAM))
        assert late.response().status == 200, "who comes late is served too"


# stacks


def stacks(server: LiveServer) -> str:
    found = ask(find(Target(server.run_dir)), operator.STACKS, operator.StacksParams())
    return "".join(process.threads for process in found.processes)


@pytest.mark.parametrize(("path", "line"), [("/spin", "in spin"), ("/gil", "in hold_the_gil")])
def test_stacks_show_where_a_worker_is_stuck(serve: Serve, path: str, line: str) -> None:
    server = serve(workers=2, graceful_timeout=1, lifespan_shutdown_timeout=1)
    with Wire(server.host, server.port) as wire:
        wire.send(request(path))
        eventually(lambda: line in stacks(server), "the line is there")
        done = run(server, "stacks")
        [stuck] = [part for part in done.stdout.split("=== ") if line in part]
        assert stuck.startswith("worker-")
        assert "raw.py" in stuck
        assert "does not turn" in stuck
        slot = stuck.removeprefix("worker-").partition(" ")[0]
        assert line in run(server, "stacks", slot).stdout


def test_stacks_show_what_a_stream_waits_for(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        wire.send(request("/sse", EVENT_STREAM))
        wire.until(b"\n\n")
        done = run(server, "stacks", "pool")
    assert "raw.py" in done.stdout
    assert "Task " in done.stdout
    assert "worker" not in done.stdout.splitlines()[0]
    unknown = run(server, "stacks", "nobody")
    assert (unknown.returncode, "no process 'nobody'" in unknown.stderr) == (1, True)


# who is there


def test_without_a_server_the_command_says_where_it_looked(tmp_path: Path) -> None:
    for command in (["status"], ["reload"], ["stop"], ["scale", "2"], ["stacks"], ["prestop"]):
        done = hsrv(*command, "--run-dir", str(tmp_path))
        assert done.returncode == 7
        assert "no running server found" in done.stderr
        assert str(tmp_path) in done.stderr


def test_with_two_servers_they_are_listed_and_one_is_named_by_its_pid(serve: Serve, tmp_path: Path) -> None:
    servers = [serve(run_dir=str(tmp_path), workers=1) for _ in range(2)]
    several = hsrv("status", "--run-dir", str(tmp_path))
    assert several.returncode == 7
    for server in servers:
        assert f"--pid {server.pid}  tests.apps.raw:app at {server.url}" in several.stderr
    one = hsrv("status", "--run-dir", str(tmp_path), "--pid", str(servers[1].pid))
    assert servers[1].url in one.stdout


def test_a_server_is_found_without_options(serve: Serve, tmp_path: Path) -> None:
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path)}
    (tmp_path / "hsrv").mkdir(mode=0o700)
    server = serve(run_dir=str(tmp_path / "hsrv"))
    if os.geteuid() == 0:
        pytest.skip("root looks at the servers of all users, and others may run here")
    assert server.url in hsrv("status", env=runtime).stdout


def test_what_a_killed_server_left_is_not_taken_for_one(serve: Serve, tmp_path: Path) -> None:
    stale = tmp_path / "4711.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    assert "no running server" in hsrv("status", "--run-dir", str(tmp_path)).stderr
    server = serve(run_dir=str(tmp_path))
    assert not stale.exists()
    assert server.url in hsrv("status", "--run-dir", str(tmp_path)).stdout


def test_no_socket_file_is_left_also_after_a_kill(serve: Serve, tmp_path: Path) -> None:
    server = serve(run_dir=str(tmp_path), graceful_timeout=1, stream_grace=1)
    [path] = tmp_path.glob("*.sock")
    assert path.stat().st_mode & 0o777 == 0o600
    template = server.children("template")[0].process
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait(DEADLINE)
    eventually(lambda: not psutil.pid_exists(template.pid), "the template has ended")
    assert list(tmp_path.glob("*.sock")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_foreign_user_is_denied_by_the_file_and_by_the_server(serve: Serve, tmp_path: Path) -> None:
    server = serve(run_dir=str(tmp_path))
    asking = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "import anyio; anyio.run(anyio.sleep, 0)  # import all that it needs as long as we may\n"
        "from hsrv.operate.client import ask; from hsrv.rpc import operator; from hsrv.errors import HsrvError\n"
        "import os; os.setgid(65534); os.setuid(65534)\n"
        "try: ask(Path(sys.argv[1]), operator.STOP, operator.StopParams())\n"
        "except HsrvError as error: print(error); sys.exit(error.exit_code)\n"
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
    server.wait_for_log(lambda entry: entry["event"] == "operator denied" and entry["uid"] == 65534)
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 200


def test_a_server_that_hangs_is_a_bounded_error(serve: Serve) -> None:
    server = serve()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for command in (["status"], ["reload"], ["stop"]):
            done = run(server, *command, "--answer-timeout", "0.5")
            assert done.returncode == 7
            assert "does not answer" in done.stderr
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
    assert run(server, "stop", "--now").returncode == 0


def test_a_hundred_status_calls_per_second_disturb_nothing(serve: Serve) -> None:
    server = serve(workers=2)
    asked = 0
    stop = threading.Event()
    script = (
        "import sys, anyio, time\n"
        "from pathlib import Path\n"
        "from hsrv.operate.client import connected\n"
        "from hsrv.rpc import operator\n"
        "async def main():\n"
        "    async with connected(Path(sys.argv[1])) as session:\n"
        "        due = time.monotonic()\n"
        "        while True:\n"
        "            await session.ask(operator.STATUS, operator.StatusParams())\n"
        "            print('asked', flush=True)\n"
        "            due += 0.01\n"
        "            await anyio.sleep(max(0, due - time.monotonic()))\n"
        "anyio.run(main)\n"
    )
    [path] = Path(server.run_dir).glob("*.sock")
    flood = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)

    def count() -> None:
        nonlocal asked
        assert flood.stdout is not None
        for _ in flood.stdout:
            asked += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        eventually(lambda: asked > 100, "the flood runs")
        victim = min(pids(server, "worker"))
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(pids(server, "worker") - {victim}) == 2, "the worker is replaced")
        assert run(server, "reload").returncode == 0
        assert run(server, "scale", "3").returncode == 0
        before = asked
        eventually(lambda: asked > before, "and the flood is still answered")
    finally:
        stop.set()
        flood.kill()
        counter.join()
        flood.wait()
        if flood.stdout is not None:
            flood.stdout.close()


def test_rubbish_and_silence_on_the_operators_socket_cost_their_sender_only(shared: LiveServer) -> None:
    server = shared
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


def test_operators_beyond_the_limit_are_told(shared: LiveServer) -> None:
    server = shared
    [path] = Path(server.run_dir).glob("*.sock")
    socks = [socket.socket(socket.AF_UNIX) for _ in range(32)]
    try:
        for sock in socks:
            sock.connect(str(path))
        done = run(server, "status")
        assert done.returncode == 1
        assert "32 operators are connected already" in done.stderr
    finally:
        for sock in socks:
            sock.close()
    eventually(lambda: run(server, "status").returncode == 0, "the places are free again")


# start


def test_a_run_dir_that_can_not_be_used_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for run_dir, why in ((tmp_path / "file", "exists"), (tmp_path / ("x" * 120), "too long")):
        done = hsrv("start", "tests.apps.raw:app", "--bind", "127.0.0.1:0", "--run-dir", str(run_dir))
        assert done.returncode == 4, done.stderr
        assert "--run-dir" in done.stderr
        assert why in done.stderr


def test_the_path_is_printed_at_the_start(shared: LiveServer) -> None:
    server = shared
    listening = server.wait_for_log(lambda entry: entry["event"] == "listening")
    assert listening["operator"] == f"{server.run_dir}/{server.pid}.sock"


# check


def test_check_loads_the_application_and_warns_of_what_bites_later(tmp_path: Path) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, name='poll').start()\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        while True:\n"
        "            message = await receive()\n"
        "            open('story', 'a').write(message['type'] + ' ')\n"
        "            await send({'type': message['type'] + '.complete'})\n"
        "            if message['type'] == 'lifespan.shutdown':\n"
        "                return\n"
    )
    arguments = [
        "--keep-alive",
        "30",
        "--workers",
        "500",
        "--bind",
        f"unix:{tmp_path}/s",
        "--unix-mode",
        "0400",
    ]
    wishes = ["--termination-grace-period", "20", "--streams", "9000000"]
    done = hsrv("check", "threaded:app", *arguments, *wishes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "threaded:app loads, lifespan started and shut down" in done.stdout
    assert (tmp_path / "story").read_text() == "lifespan.startup lifespan.shutdown "
    for warned in (
        "--keep-alive 30",
        "KILL comes after 20 s",
        "started threads",
        "--workers 500",
        "ulimit",
        "nobody",
    ):
        assert warned in done.stderr
    assert hsrv("check", "threaded:app", "--strict", cwd=tmp_path).returncode == 1
    fine = hsrv("check", "tests.apps.raw:app", "--strict")
    assert (fine.returncode, fine.stderr) == (0, "")


def test_check_fails_like_a_start_would(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nowhere\n")
    done = hsrv("check", "broken:app", cwd=tmp_path)
    assert done.returncode == 3
    assert "nowhere" in done.stderr
    assert hsrv("check", "broken:app", "--keep-alive", "soon", cwd=tmp_path).returncode == 2


# what a fault or a stranger must not do


def raw_request(server: LiveServer, **message: Any) -> bytes:
    """The first line of the answer."""
    [path] = Path(server.run_dir).glob("*.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(str(path))
        sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, **message}).encode() + b"\n")
        with sock.makefile("rb") as lines:
            return next(line for line in lines if b'"id":1,"result"' in line or b'"id":1,"error"' in line)


def test_an_operators_log_context_of_any_kind_breaks_no_reload(serve: Serve) -> None:
    server = serve()
    for log_context in ({"n": 10**30}, {"attempt": 1}, {"event": "x", "lifespan": True, "level": "no"}):
        answer = raw_request(server, method="reload", params={"_meta": {"log": log_context}})
        assert b'"result"' in answer, answer
    assert run(server, "stop").returncode == 0


def test_an_answer_that_fits_no_line_is_cut_and_not_lost(serve: Serve) -> None:
    server = serve(pools=2)
    wires = [Wire(server.host, server.port) for _ in range(120)]
    try:
        for number, wire in enumerate(wires):
            wire.send(request(f"/sse/{'x' * 7500}?key={number}", EVENT_STREAM))
        for wire in wires:
            wire.until(b"\n\n")
        found = status(server)
        assert (
            sum(one.report.running for one in found.generations[0].processes if one.report is not None) == 120
        )
        assert run(server, "stacks").returncode == 0
    finally:
        for wire in wires:
            wire.sock.close()


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
            assert run(server, "status").returncode == 0
            assert run(server, "reload").returncode == 0
        finally:
            stop.set()
            for writer in writers:
                writer.join()


def test_stacks_while_a_process_ends_show_the_others(serve: Serve) -> None:
    server = serve(workers=2, graceful_timeout=1, lifespan_shutdown_timeout=1)
    victim = max(child.pid for child in server.children("worker"))
    os.kill(victim, signal.SIGSTOP)
    command = [sys.executable, "-m", "hsrv", "stacks", "--run-dir", server.run_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stacks:
        os.kill(victim, signal.SIGKILL)
        output, _ = stacks.communicate(timeout=DEADLINE)
    assert stacks.returncode == 0
    assert "=== pool-1" in output


def test_a_worker_that_was_asked_while_it_computed_still_obeys(serve: Serve) -> None:
    """Questions that it could not read must not take the place of the command that follows them."""
    server = serve(workers=1, lifespan_shutdown_timeout=1)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/burn?s=6"))
        eventually(lambda: not status(server).generations[0].processes[1].answers, "it computes")
        for _ in range(150):
            raw_request(server, method="status")
        assert run(server, "reload", "--wait").returncode == 0
        assert wire.response().status == 200
    commands = [entry for entry in server.logs if entry["event"] == "killing"]
    assert commands == []


def test_paths_that_clients_make_up_cost_the_supervisor_nothing(serve: Serve) -> None:
    server = serve(workers=2)
    for number in range(150):
        with Wire(server.host, server.port) as wire:
            wire.send(request(f"/sse/{number}/{'y' * 7000}", EVENT_STREAM))
            wire.until(b"\n\n")
        with Wire(server.host, server.port) as wire:
            wire.send(request(f"/sse/{number}/short", EVENT_STREAM))
            wire.until(b"\n\n")
    assert run(server, "status", "--answer-timeout", "2").returncode == 0
    assert run(server, "reload").returncode == 0


def test_a_reload_in_the_queue_is_told_when_the_server_stops(serve: Serve, code: Path) -> None:
    server = serve("changing:app", app_dir=code)
    write_version(code, "import time; time.sleep(5); VERSION = 'late'")
    command = [sys.executable, "-m", "hsrv", "reload", "--run-dir", server.run_dir]
    reloads = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    server.wait_for_log(lambda entry: entry["event"] == "reload queued")
    server.process.send_signal(signal.SIGTERM)
    told = [reload.communicate(timeout=DEADLINE)[1] for reload in reloads]
    assert [reload.returncode for reload in reloads] == [1, 1]
    assert all("the server stops" in text for text in told)
