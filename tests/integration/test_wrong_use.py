"""Wrong use: one clear message, the documented exit code, nothing left running."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from hsrv.common.errors import ExitCode
from hsrv.testing import LiveServer
from tests.conftest import LONG
from tests.integration.conftest import Serve, command_line, hsrv
from tests.integration.wire import Wire

GOOD = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def refused(done: "subprocess.CompletedProcess[str]", code: ExitCode, *said: str) -> None:
    assert done.returncode == code, done.stderr
    for words in said:
        assert words in done.stderr, done.stderr
    assert "hsrv/cli.py" not in done.stderr, "no traceback of the server"
    assert "hsrv/app/apploader.py" not in done.stderr, "no traceback of the server"
    assert "hsrv/supervisor" not in done.stderr, "no traceback of the server"


# the application


UNLOADABLE: list[tuple[str, str, list[str]]] = [
    (GOOD, "nowhere:app", ["no module named 'nowhere'", "--app-dir"]),
    (GOOD, "webshop:ap", ["no attribute 'ap'", "did you mean 'app'"]),
    ("def broken(:\n", "webshop:app", ["webshop.py", "line 1"]),
    ("import not_installed_anywhere\n", "webshop:app", ["not_installed_anywhere", "webshop.py"]),
    (
        "raise RuntimeError('no database')\n",
        "webshop:app",
        [
            "RuntimeError: no database",
            "webshop.py",
            "\n    raise RuntimeError('no database')\n",
            "\nhsrv: webshop",
        ],
    ),
    ("app = 5\n", "webshop:app", ["int can't be called"]),
    ("def app(environ, start_response): ...\n", "webshop:app", ["WSGI", "asgiref"]),
    ("class app:\n    def __init__(self, scope): ...\n", "webshop:app", ["ASGI 2"]),
    ("def app(): ...\n", "webshop:app", ["factory", "--factory"]),
    ("def make(name): ...\n", "webshop:make()", ["needs arguments"]),
    (
        "def make():\n    raise KeyError('missing')\n",
        "webshop:make()",
        ["KeyError", "missing", "webshop.py"],
    ),
    ("import sys\nsys.exit(1)\n", "webshop:app", ["SystemExit"]),
    (GOOD, "not a name", ["is not an application"]),
]


@pytest.mark.parametrize(
    ("source", "name", "said", "preload"),
    [
        # What the loader says of each is shown in tests/unit/app/test_apploader.py: here that it comes out, or all.
        *((*case, "auto") for case in (UNLOADABLE if LONG else UNLOADABLE[::5])),
        # Without preloading the same loader runs, in the worker.
        *((*case, "none") for case in (UNLOADABLE if LONG else UNLOADABLE[4:5])),
    ],
)
def test_an_application_that_cannot_be_loaded(
    tmp_path: Path, source: str, name: str, said: list[str], preload: str
) -> None:
    (tmp_path / "webshop.py").write_text(source)
    done = hsrv("start", name, "-b", "127.0.0.1:0", "-w", "2", "--preload", preload, cwd=tmp_path)
    refused(done, ExitCode.APP, *said)
    assert done.stderr.count('could not be started", "message"') <= 1, "told once"


def test_nothing_given_and_nothing_found(tmp_path: Path) -> None:
    refused(hsrv("start", cwd=tmp_path), ExitCode.APP, "main.py", "app.py", "asgi.py", str(tmp_path))


def test_discovery_finds_the_application(tmp_path: Path) -> None:
    """Where it looks: tests/unit/app/test_apptarget.py."""
    (tmp_path / "asgi.py").write_text(GOOD.replace("def app", "def the_only_one"))
    server = LiveServer("placeholder", cwd=tmp_path)
    server._command.remove("placeholder")
    with server:
        assert httpx.get(server.url).text == "ok"


# addresses: what is said of each that can't be bound is shown in tests/unit/supervisor/sockets/test_listeners.py


def test_a_port_in_use(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused(hsrv("start", "-b", address, cwd=tmp_path), ExitCode.BIND, address, "in use")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody without rights")
def test_a_port_that_needs_rights(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(GOOD)
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit <= 1:
        pytest.skip("every port is free for everybody here")
    done = hsrv("start", "-b", "127.0.0.1:1", cwd=tmp_path, preexec_fn=drop_bind_right)
    refused(done, ExitCode.BIND, "127.0.0.1:1", "no permission", "1024")


def drop_bind_right() -> None:
    """Take CAP_NET_BIND_SERVICE (10) out of the bounding set and let exec apply it: root, but for low ports."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(24, 10, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
        raise OSError(ctypes.get_errno(), "PR_CAPBSET_DROP")


def test_socket_files(serve: Serve, tmp_path: Path) -> None:
    """A stale one is replaced, a live one and what is no socket are errors; the mode is the one asked for."""
    path = tmp_path / "app.sock"
    (tmp_path / "main.py").write_text(GOOD)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = serve(bind=["127.0.0.1:0", f"unix:{path}"], unix_mode="0600")
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.get("http://app/").json()["role"] == "worker"
    refused(hsrv("start", "-b", f"unix:{path}", cwd=tmp_path), ExitCode.BIND, str(path), "another server")
    server.stop()
    assert not path.exists()
    path.write_text("precious")
    refused(hsrv("start", "-b", f"unix:{path}", cwd=tmp_path), ExitCode.BIND, "no socket")
    assert path.read_text() == "precious"


def test_ipv6_and_several_addresses(serve: Serve) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    server = serve(bind=["127.0.0.1:0", "[::1]:0"])
    assert len(server.urls) == 2
    for url in server.urls:
        assert httpx.get(url).status_code == 200


def test_an_inherited_socket(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        command = [sys.executable, "-m", "hsrv", "start", "-b", f"fd:{listener.fileno()}"]
        with subprocess.Popen(
            command, cwd=tmp_path, pass_fds=[listener.fileno()], stderr=subprocess.PIPE
        ) as process:
            with Wire("127.0.0.1", listener.getsockname()[1]) as wire:
                assert wire.get("/").body == b"ok"
            process.terminate()
            process.communicate(timeout=20)
        assert process.returncode == ExitCode.OK


# options


def bad_file(tmp_path: Path) -> list[str]:
    (tmp_path / "hsrv.toml").write_text("workers = 0\nkeep-alive = 'long'\nwrokers = 3\n")
    return ["hsrv.toml", "workers", "0", "from 1", "keep_alive", "'long'", "wrokers", "did you mean workers"]


def bad_pyproject(tmp_path: Path) -> list[str]:
    (tmp_path / "pyproject.toml").write_text("[tool.hsrv]\nlifespan = 'maybe'\n")
    return ["pyproject.toml", "lifespan", "'maybe'", "auto, on or off"]


def bad_environment(tmp_path: Path) -> list[str]:
    return [
        "HSRV_PRELOAD",
        "'everything'",
        "auto, app, libraries or none",
        "HSRV_WORKRS",
        "did you mean HSRV_WORKERS",
    ]


def bad_command_line(tmp_path: Path) -> list[str]:
    return ["--bind", "nonsense", "HOST:PORT", "--log-level", "'loud'", "debug, info, warning or error"]


@pytest.mark.parametrize("bad", [bad_file, bad_pyproject, bad_environment, bad_command_line])
@pytest.mark.parametrize("command", ["start", "config"])
def test_a_bad_option_is_told_with_value_source_and_what_is_allowed(
    tmp_path: Path, bad: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.py").write_text(GOOD)
    said = bad(tmp_path)
    if bad is bad_environment:
        monkeypatch.setenv("HSRV_PRELOAD", "everything")
        monkeypatch.setenv("HSRV_WORKRS", "2")
    arguments = ["-b", "nonsense", "--log-level", "loud"] if bad is bad_command_line else []
    refused(command_line(command, *arguments), ExitCode.USAGE, *said)


def test_unknown_commands_options_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(command_line("strat"), ExitCode.USAGE, "start")
    refused(command_line("start", "--wrokers", "2"), ExitCode.USAGE, "--workers")
    refused(command_line("start", "-c", "none.toml"), ExitCode.USAGE, "none.toml")
    (tmp_path / "hsrv.toml").write_text("workers = \n")
    refused(command_line("start"), ExitCode.USAGE, "hsrv.toml", "line 1")


def test_preload_falls_back_when_the_import_leaves_a_thread(tmp_path: Path) -> None:
    start = "threading.Thread(target=time.sleep, args=(3600,), daemon=True, name='mine').start()"
    thread = f"import threading, time\n{start}\n"
    (tmp_path / "threaded.py").write_text(thread + GOOD)
    with LiveServer("threaded:app", cwd=tmp_path, workers=2) as server:
        assert httpx.get(server.url).text == "ok"
        warnings = [entry for entry in server.logs if entry["event"] == "preload given up"]
        assert len(warnings) == 1
        assert "mine" in warnings[0]["why"]


def test_the_environment_file_reaches_the_application(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("# a comment\nexport VERSION='from the file'\nRECORD=ignored\n")
    server = serve(env_file=str(path))
    assert httpx.get(server.url).json()["version"] == "from the file"
    path.write_text("no equals sign\n")
    refused(command_line("start", "--env-file", str(path)), ExitCode.USAGE, "line 1")


def test_config_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hsrv.toml").write_text("workers = 3\n")
    monkeypatch.setenv("HSRV_POOLS", "2")
    monkeypatch.setenv("PORT", "9000")
    shown = command_line("config", "--keep-alive", "5").stdout
    lines = {line.split()[0]: line.split() for line in shown.splitlines()}
    assert lines["workers"][1:] == ["3", "hsrv.toml"]
    assert lines["pools"][1:] == ["2", "HSRV_POOLS"]
    assert lines["keep_alive"][1:] == ["5.0", "--keep-alive"]
    assert lines["bind"][-1] == "PORT"
    assert lines["backlog"][-1] == "default"
    assert "hsrv 0" in command_line("version").stdout
