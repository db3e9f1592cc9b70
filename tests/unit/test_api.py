"""hsrv from Python."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import hsrv
from hsrv.system.blockedsignals import BLOCKED
from tests.integration.wire import Wire, eventually

SCRIPT = """
import hsrv

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"from a script"})

if __name__ == "__main__":
    hsrv.run(app, workers=2, bind=["127.0.0.1:0"], log_format="json")
"""


def test_every_public_name_is_there() -> None:
    for name in hsrv.__all__:
        assert getattr(hsrv, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        hsrv.nothing  # noqa: B018  # the access is the test


def test_importing_hsrv_loads_none_of_it() -> None:
    code = "import hsrv, sys; print([m for m in sys.modules if m.startswith('hsrv.') or m in ('typer', 'msgspec')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def ends(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `hsrv.run()` says when it ends with an exit code."""

    def run(code: hsrv.ExitCode, *arguments: Any, **options: Any) -> str:
        with pytest.raises(SystemExit) as end:
            hsrv.run(*arguments, **options)
        assert end.value.code == code
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & BLOCKED, (
            "the script hears its signals again"
        )
        return capfd.readouterr().err

    return run


def test_a_wrong_option_is_named_and_ends_with_the_code_for_it(ends: Callable[..., str]) -> None:
    assert "(set by run(workers=...))" in ends(hsrv.ExitCode.USAGE, "main:app", workers=0)
    assert "did you mean workers" in ends(hsrv.ExitCode.USAGE, "main:app", wokers=2)


def test_an_object_that_nobody_can_import_ends_it_too(ends: Callable[..., str]) -> None:
    async def local(scope: object, receive: object, send: object) -> None: ...

    assert "import string" in ends(hsrv.ExitCode.USAGE, local)
    assert "5 is not an application: int can't be called" in ends(hsrv.ExitCode.USAGE, 5)


def served(script: Path, folder: Path, *arguments: str) -> bytes:
    """What a script's server answers, run from `folder`; it must stop cleanly."""
    log = script.with_suffix(".log")
    with log.open("wb") as stderr:
        command = [sys.executable, *(arguments or [str(script)])]
        process = subprocess.Popen(command, cwd=folder, stderr=stderr)
    try:
        line = eventually(
            lambda: [x for x in log.read_text().splitlines() if '"listening"' in x], "it serves"
        )[0]
        port = int(line.partition("http://127.0.0.1:")[2].partition('"')[0])
        with Wire("127.0.0.1", port) as wire:
            return wire.get("/").body
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == hsrv.ExitCode.OK


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere"
    path.mkdir()
    return path


def test_a_script_serves_from_wherever_it_is_called(tmp_path: Path, elsewhere: Path) -> None:
    script = tmp_path / "served.py"
    script.write_text(SCRIPT)
    assert served(script, elsewhere) == b"from a script"


def test_a_module_run_by_name_serves_its_own_application(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(SCRIPT)
    assert served(package / "__main__.py", tmp_path, "-m", "shop") == b"from a script"


@pytest.mark.parametrize("named", ["application", "'shop:application'"])
def test_an_application_beside_the_script_is_found_as_the_script_finds_it(
    tmp_path: Path, elsewhere: Path, named: str
) -> None:
    (tmp_path / "shop.py").write_text(
        SCRIPT.replace("def app", "def application").partition("if __name__")[0]
    )
    call = SCRIPT.partition("if __name__")[2].replace("run(app", f"run({named}")
    script = tmp_path / "start.py"
    script.write_text(f"import hsrv\nfrom shop import application\nif __name__{call}")
    assert served(script, elsewhere) == b"from a script"


# refusals


def refused(script: Path, source: str, folder: Path, *arguments: str, given: str | None = None) -> str:
    """The last line of what a script says that can't serve."""
    script.write_text(source)
    command = [sys.executable, *(arguments or [str(script)])]
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0, done.stderr
    return done.stderr


def test_a_call_without_the_guard_is_refused_in_the_processes_and_starts_nothing(tmp_path: Path) -> None:
    source = SCRIPT.replace('if __name__ == "__main__":', "if True:")
    said = refused(tmp_path / "served.py", source, tmp_path)
    assert "put it below `if __name__" in said.replace("\\", "")
    assert "listening" not in said
    assert said.count('"event": "application could not be started"') == 1


def test_a_script_that_has_no_module_name_is_told_so(tmp_path: Path) -> None:
    said = refused(tmp_path / "my-app.py", SCRIPT, tmp_path)
    assert "hsrv: run(): my-app.py can't be imported as a module" in said
    said = refused(tmp_path / "unused.py", SCRIPT, tmp_path, "-", given=SCRIPT)
    assert "hsrv: run(): other processes can't import code typed" in said


def test_so_do_wrong_paths(tmp_path: Path, ends: Callable[..., str]) -> None:
    said = ends(hsrv.ExitCode.USAGE, "main:app", config_file=str(tmp_path / "no.toml"))
    assert "no.toml: no such configuration file" in said
    (tmp_path / "env").write_text("no assignment")
    assert "line 1" in ends(hsrv.ExitCode.USAGE, "main:app", env_file=str(tmp_path / "env"))


def test_only_the_main_thread_outside_of_a_loop_can_serve() -> None:
    async def inside() -> None:
        hsrv.run("main:app")

    with pytest.raises(hsrv.ConfigError, match="event loop"):
        asyncio.run(inside())
    with ThreadPoolExecutor(1) as pool, pytest.raises(hsrv.ConfigError, match="main thread"):
        pool.submit(hsrv.run, "main:app").result()


def test_an_application_that_can_not_be_found_ends_it_with_the_code_for_that(
    tmp_path: Path, ends: Callable[..., str]
) -> None:
    said = ends(hsrv.ExitCode.APP, app_dir=str(tmp_path))
    assert said.startswith("hsrv: no application given and none found")
    assert ends(hsrv.ExitCode.APP, "no name").startswith("hsrv: 'no name' is not an application")


def test_a_script_ends_with_the_exit_code_of_the_command(tmp_path: Path) -> None:
    """One whose application can't be imported, and one whose port is taken: both are known only once it runs."""
    (tmp_path / "broken.py").write_text("raise RuntimeError('no database')\n")

    def run(app: str, bind: str) -> "subprocess.CompletedProcess[str]":
        call = f"import hsrv\nhsrv.run({app!r}, workers=1, bind=[{bind!r}])\n"
        command = [sys.executable, "-c", call]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    done = run("broken:app", "127.0.0.1:0")
    assert done.returncode == hsrv.ExitCode.APP, done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("broken:app", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == hsrv.ExitCode.BIND, done.stderr
    assert "Traceback" not in done.stderr


def test_the_configuration_can_be_had_without_serving(tmp_path: Path) -> None:
    config, sources = hsrv.load_config({"workers": 3}, environ={}, folder=tmp_path)
    assert isinstance(config, hsrv.Config)
    assert (config.workers, sources["workers"]) == (3, "--workers")
