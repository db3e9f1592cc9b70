"""hsrv from Python."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hsrv
from tests.integration.wire import Wire, eventually

SCRIPT = """
import hsrv

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"from a script"})

if __name__ == "__main__":
    raise SystemExit(hsrv.run(app, workers=2, bind=["127.0.0.1:0"], log_format="json"))
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


def test_a_wrong_option_is_a_config_error_that_names_it() -> None:
    with pytest.raises(hsrv.ConfigError, match=r"run\(workers=\.\.\.\)"):
        hsrv.run("main:app", workers=0)
    with pytest.raises(hsrv.ConfigError, match="did you mean workers"):
        hsrv.run("main:app", wokers=2)


def test_an_object_that_nobody_can_import_is_a_config_error() -> None:
    async def local(scope: object, receive: object, send: object) -> None: ...

    with pytest.raises(hsrv.ConfigError, match="import string"):
        hsrv.run(local)


def test_a_script_serves_its_own_application(tmp_path: Path) -> None:
    script = tmp_path / "served.py"
    script.write_text(SCRIPT)
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, stderr=stderr)
    try:
        line = eventually(
            lambda: [x for x in log.read_text().splitlines() if '"listening"' in x], "it serves"
        )[0]
        port = int(line.partition("http://127.0.0.1:")[2].partition('"')[0])
        with Wire("127.0.0.1", port) as wire:
            assert wire.get("/").body == b"from a script"
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == hsrv.ExitCode.OK
