"""The server as a service: what it tells its manager, and what a manager passes to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.system.sdnotify import VARIABLES, kept_name
from hsrv.testing import LiveServer
from tests.integration.conftest import DEADLINE, ROOT, Serve, hsrv, pids
from tests.integration.service_manager import NotifySocket, RealManager, passed_on, real_manager
from tests.integration.wire import Wire, eventually

DEPLOY = ROOT / "deploy" / "systemd"

APP = """
import json, os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = json.dumps({"pid": os.getpid(), "environ": sorted(os.environ)}).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    with closing(NotifySocket(str(tmp_path / "notify"))) as it:
        yield it


@pytest.fixture
def app(tmp_path: Path) -> Path:
    file = tmp_path / "service.py"
    file.write_text(APP)
    return file


def start(serve: Serve, app: Path, manager: NotifySocket | None, **options: Any) -> LiveServer:
    env = {**options.pop("env", {})}
    if manager is not None:
        env["NOTIFY_SOCKET"] = manager.address
    usual = {"workers": 1, "app_dir": str(app.parent), "access_log": False}
    return serve("service:app", env=env, **{**usual, **options})


def environment_of_the_application(server: LiveServer) -> list[str]:
    return list(httpx.get(server.url).json()["environ"])


# what it says


def test_a_life_in_the_words_of_a_manager(serve: Serve, app: Path) -> None:
    with closing(NotifySocket(f"@hsrv-test-{os.getpid()}")) as manager:
        server = start(serve, app, manager, env={"WATCHDOG_USEC": "600000", "FDSTORE": "0"})
        manager.wait(lambda told: told.lines.get("EXTEND_TIMEOUT_USEC"), "more time for the start")
        manager.wait(lambda told: told.lines.get("READY") == "1", "ready")
        manager.wait(lambda told: told.lines.get("WATCHDOG") == "1", "a sign of life")
        asked, since = time.monotonic_ns() // 1000, len(manager.told)
        ask(find(Target(server.run_dir)), operator.RELOAD, operator.ReloadParams())
        reloading = manager.wait(lambda told: told.lines.get("RELOADING") == "1", "reloading", since)
        assert asked <= int(reloading.lines["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        since = manager.told.index(reloading)
        manager.wait(lambda told: told.lines.get("READY") == "1", "ready again", since)
        text = manager.wait(lambda told: "generation 2" in told.lines.get("STATUS", ""), "its status", since)
        assert text.lines["STATUS"] == "generation 2: 1 workers, 1 pools"
        assert not set(environment_of_the_application(server)) & set(VARIABLES)
        assert server.stop() == 0
        manager.wait(lambda told: told.lines.get("STOPPING") == "1", "stopping")
        assert {told.pid for told in manager.told} == {server.pid}, "nobody else speaks"
        assert not [told for told in manager.told if "FDSTORE" in told.lines]


def test_a_reload_that_cannot_begin_is_over_for_the_manager_too(
    serve: Serve, app: Path, manager: NotifySocket, tmp_path: Path
) -> None:
    """Otherwise it would wait for the end of one that there never was."""
    file = tmp_path / "hsrv.toml"
    file.write_text("")
    server = start(serve, app, manager, env={"HSRV_CONFIG": str(file)})
    manager.wait(lambda told: "READY" in told.lines, "ready")
    file.write_text("workers = 'many'")
    since = len(manager.told)
    os.kill(server.pid, signal.SIGHUP)
    told = manager.wait(lambda told: "RELOADING" in told.lines, "reloading", since)
    manager.wait(lambda told: "READY" in told.lines, "ready again", manager.told.index(told))


def test_no_sign_of_life_while_nobody_serves(serve: Serve, app: Path, manager: NotifySocket) -> None:
    env = {"WATCHDOG_USEC": "300000"}
    server = start(serve, app, manager, env=env, preload="none")
    manager.wait(lambda told: "WATCHDOG" in told.lines, "a sign of life")
    ask(find(Target(server.run_dir)), operator.HOLD, operator.HoldParams(held=True))
    since = len(manager.told)
    manager.wait(lambda told: "WATCHDOG" in told.lines, "also when an operator wants no traffic", since)
    app.write_text("raise RuntimeError('broken')")
    [worker] = pids(server, "worker")
    os.kill(worker, signal.SIGKILL)
    server.wait_for_log(lambda entry: entry["event"] == "no sign of life")
    since = len(manager.told)
    time.sleep(0.5)  # more than the manager's patience
    assert not [told for told in manager.told[since:] if "WATCHDOG" in told.lines]
    app.write_text(APP)
    since = len(manager.told)
    manager.wait(lambda told: "WATCHDOG" in told.lines, "a sign of life again", since)


def test_an_upgrade_makes_another_process_the_main_one(
    serve: Serve, app: Path, manager: NotifySocket
) -> None:
    server = start(serve, app, manager, env={"WATCHDOG_USEC": "600000"})
    with Wire(server.host, server.port) as wire:
        before = wire.get("/").json["pid"]
        result = ask(find(Target(server.run_dir)), operator.UPGRADE, operator.UpgradeParams())
        new = psutil.Process(result.pid)
        try:
            main = manager.wait(lambda told: "MAINPID" in told.lines, "the new main process")
            assert (main.pid, main.lines["MAINPID"]) == (server.pid, str(result.pid))
            assert server.process.wait(DEADLINE) == 0, "nobody need keep the old pid"
            since = manager.told.index(main)
            for number in range(1, 5):  # again and again, though nothing happens
                sign = manager.wait(
                    lambda told: "WATCHDOG" in told.lines, f"sign of life {number}", since + number
                )
            assert {told.pid for told in manager.told[since + 1 :]} == {result.pid}, "the old one is silent"
            assert [told for told in manager.told[since:] if told.lines.get("READY") == "1"]
            assert sign.pid == result.pid
            assert wire.get("/").json["pid"] != before
            assert not set(environment_of_the_application(server)) & set(VARIABLES)
        finally:
            new.terminate()
            eventually(lambda: not new.is_running(), "it stops")


# what it is passed


def listening(address: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    sock.bind((address, 0))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("binds", "served"),
    [
        (["127.0.0.1:0"], ["web", "admin"]),
        (["fd://admin", "127.0.0.1:0"], ["admin"]),
    ],
    ids=["instead of what is configured", "by name beside others"],
)
def test_sockets_of_a_manager_by_name(
    serve: Serve, app: Path, tmp_path: Path, binds: list[str], served: list[str]
) -> None:
    with listening() as web, listening() as admin:
        named = {"web": web, "admin": admin}
        urls = {name: f"http://127.0.0.1:{sock.getsockname()[1]}" for name, sock in named.items()}
        with passed_on(tmp_path, [(name, sock.fileno()) for name, sock in named.items()]) as given:
            env = {"PASS_FROM": given["PASS_FROM"]}
            server = start(serve, app, None, env=env, python=given["python"], bind=binds)
    assert [url for url in server.urls if url in urls.values()] == [urls[name] for name in served]
    assert len(server.urls) == len(served) + ("127.0.0.1:0" in binds and served == ["admin"])
    for name in served:
        assert httpx.get(urls[name]).status_code == 200
    assert not set(environment_of_the_application(server)) & set(VARIABLES)
    if binds == ["127.0.0.1:0"]:
        ask(find(Target(server.run_dir)), operator.UPGRADE, operator.UpgradeParams())
        then = ask(find(Target(server.run_dir)), operator.STATUS, operator.StatusParams())
        assert [one.url for one in then.listeners] == server.urls, "nor does an upgrade go back to --bind"


def test_a_name_that_nobody_passed_is_told(app: Path) -> None:
    done = hsrv("start", "service:app", "--app-dir", str(app.parent), "--bind", "fd://web")
    assert (done.returncode, "no socket of this name was passed to us (none were)" in done.stderr) == (
        4,
        True,
    )


def told_to_keep(manager: NotifySocket, name: str) -> int:
    """The descriptor that it was to keep under this name."""
    return manager.wait(lambda told: told.lines.get("FDNAME") == name, name).fds[0]


def test_listeners_that_the_manager_keeps_refuse_nobody_between_two_lives(
    serve: Serve, app: Path, manager: NotifySocket, tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    env, binds = {"FDSTORE": "8"}, ["127.0.0.1:0", f"unix:{path}"]
    server = start(serve, app, manager, env=env, bind=binds)
    kept = [(kept_name("bind", bind), bind) for bind in binds]
    found = [(name, told_to_keep(manager, name)) for name, _ in kept]
    assert server.stop() == 0
    with Wire(server.host, server.port) as early, socket.socket(socket.AF_UNIX) as local:
        local.connect(str(path))
        early.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        with passed_on(tmp_path, found) as given:
            env["PASS_FROM"] = given["PASS_FROM"]
            again = start(serve, app, manager, env=env, python=given["python"], bind=binds)
        assert again.urls == server.urls
        assert early.response().status == 200
    assert again.stop() == 0
    assert path.exists(), "the address stays the manager's"


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not installed"
)
def test_it_is_started_by_the_first_connection(app: Path, tmp_path: Path) -> None:
    with listening() as sock:
        port = sock.getsockname()[1]
    command = [
        "systemd-socket-activate",
        "-l",
        f"127.0.0.1:{port}",
        "--fdname=web",
        sys.executable,
        "-m",
        "hsrv",
    ]
    command += ["start", "service:app", "--app-dir", str(app.parent), "--run-dir", str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: accepts(port), "it listens")
            assert httpx.get(f"http://127.0.0.1:{port}/", timeout=DEADLINE).status_code == 200
        finally:
            process.terminate()
    assert process.returncode == 0


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE).close()
    except ConnectionRefusedError:
        return False
    return True


# the units


@pytest.fixture
def unit(app: Path) -> Callable[..., str]:
    def make(*arguments: str) -> str:
        done = hsrv("systemd-unit", "service:app", "--name", "app", *arguments, cwd=app.parent)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return make


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_units_are_verified(unit: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    program = str(Path(sys.executable).with_name("hsrv"))
    template = (DEPLOY / "hsrv@.service").read_text()
    (folder / "hsrv@.service").write_text(template.replace("/srv/%i/.venv/bin/hsrv", program))
    shutil.copy(DEPLOY / "hsrv@.socket", folder)
    binds = (
        "--bind",
        "0.0.0.0:80",
        "--bind",
        "[::1]:8000",
        "--bind",
        "unix:/run/app.sock",
        "--stream",
        "/a b%$*",
    )
    (folder / "app.service").write_text(unit(*binds))
    (folder / "app.socket").write_text(unit(*binds, "--socket"))
    names = ["hsrv@app.service", "hsrv@app.socket", "app.service", "app.socket"]
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(folder / name) for name in names)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# with the real one

NOT_IN_A_CORNER = ("ProtectHome=", "ProtectKernelLogs=", "ProtectKernelTunables=", "RestartSec=")
"""What a manager with a /run of its own, on a machine that may keep its interpreter in a home, can't do, or needn't."""


def installed(manager: RealManager, text: str, *more: str) -> None:
    lines = [line for line in text.splitlines() if not line.startswith(NOT_IN_A_CORNER)]
    at = lines.index("[Service]") + 1
    manager.install("app.service", "\n".join([*lines[:at], *lines[at:], "[Service]", *more]))


@contextmanager
def knocking(port: int) -> Iterator[tuple[list[float], list[str]]]:
    """Clients that come all the time: when they were answered, and how they failed."""
    answered: list[float] = []
    failed: list[str] = []
    over = threading.Event()

    def knock() -> None:
        while not over.is_set():
            began, at = datetime.now(UTC).time(), "connect"
            try:
                with Wire("127.0.0.1", port) as wire:
                    at = f"answer, on port {wire.sock.getsockname()[1]}"
                    assert wire.get("/", "Connection: close").status == 200
            except (OSError, EOFError, AssertionError) as error:
                failed.append(f"{error!r} (began {began}, ended {datetime.now(UTC).time()}, at {at})")
            else:
                answered.append(time.monotonic())
            time.sleep(0.005)

    threads = [threading.Thread(target=knock, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield answered, failed
    over.set()
    for thread in threads:
        thread.join(DEADLINE)


def test_a_service_of_the_real_systemd(unit: Callable[..., str], tmp_path: Path) -> None:
    with listening() as sock:
        port = sock.getsockname()[1]
    text = unit("--bind", f"127.0.0.1:{port}", "--log-format", "json", "--no-access-log")
    with real_manager(tmp_path) as manager:
        log = tmp_path / "service.log"
        installed(manager, text, "WatchdogSec=2", f"StandardError=append:{log}")
        manager.control("start", "app")
        state = manager.show("app")
        assert (state["ActiveState"], state["StatusText"]) == ("active", "generation 1: 1 workers, 1 pools")
        assert state["NFileDescriptorStore"] == "1"
        with knocking(port) as (answered, failed):
            manager.control("reload", "app")
            assert manager.show("app")["StatusText"].startswith("generation 2")
            program = str(Path(sys.executable).with_name("hsrv"))
            manager.run(program, "upgrade", "--run-dir", "/run/xdg/hsrv-app")
            upgraded = manager.show("app")
            assert (upgraded["ActiveState"], upgraded["MainPID"] != state["MainPID"]) == ("active", True)
            manager.control("restart", "app")
            before = len(answered)
            restarted = manager.show("app")
            assert restarted["ActiveState"] == "active"
            assert restarted["MainPID"] != upgraded["MainPID"]
            eventually(lambda: len(answered) > before + 10, "clients go on")
        assert failed == [], log.read_text()
        stopped = [line for line in log.read_text().splitlines() if '"event": "stopping"' in line]
        main = f'"pid": {upgraded["MainPID"]}}}'
        assert [main in line for line in stopped] == [True], (
            "it was waited for, though it is not what was started"
        )
        os.kill(
            int(restarted["MainPID"]), signal.SIGSTOP
        )  # the watchdog finds a supervisor that does nothing
        eventually(lambda: manager.show("app")["NRestarts"] == "1", "it is replaced")
        eventually(lambda: manager.show("app")["ActiveState"] == "active", "and serves again")
        assert json.loads(httpx.get(f"http://127.0.0.1:{port}/", timeout=DEADLINE).text)["pid"]
        manager.control("stop", "app")
        assert manager.show("app")["Result"] == "success"
