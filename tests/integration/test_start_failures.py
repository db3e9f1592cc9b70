"""Whatever happens while something starts, it ends: with exit code 3 at first, with the old code serving later."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from hsrv.common.errors import ExitCode
from tests.integration.conftest import ROOT, Serve, pids
from tests.integration.wire import eventually

APP = "from tests.apps.raw import app\n"
HANGS = "import time\ntime.sleep(60)\n"
EXITS = "import os\nos._exit(4)\n"
CRASHES_IN_LIFESPAN = """
import os
async def app(scope, receive, send):
    os.abort()
"""


def start(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`hsrv start` of an application with this source, expected to fail; what it said."""
    (folder / "made_for_test.py").write_text(source)
    command = [sys.executable, "-m", "hsrv", "start", "made_for_test:app", "--app-dir", str(folder)]
    return subprocess.run(
        [*command, "--bind", "127.0.0.1:0", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("source", "said", "preload"),
    [
        (HANGS, "not ready after 2 s (--startup-timeout)", "auto"),
        (HANGS, "not ready after 2 s (--startup-timeout)", "none"),
        (EXITS, "exited with code 4", "auto"),
        (EXITS, "exited with code 4", "none"),
        (CRASHES_IN_LIFESPAN, "SIGABRT", "auto"),
    ],
)
def test_a_first_start_that_fails_ends_and_says_why(
    tmp_path: Path, source: str, said: str, preload: str
) -> None:
    done = start(
        tmp_path, source, "--preload", preload, "--startup-timeout", "2", "--lifespan-shutdown-timeout", "0.1"
    )
    assert done.returncode == ExitCode.APP, done.stderr
    assert said in done.stderr
    assert done.stderr.count('"event": "application could not be started"') == 1


@pytest.mark.parametrize("source", [HANGS, EXITS, CRASHES_IN_LIFESPAN], ids=["hangs", "exits", "crashes"])
def test_a_reload_that_fails_leaves_the_old_processes_and_nothing_of_its_own(
    serve: Serve, tmp_path: Path, source: str
) -> None:
    module = tmp_path / "made_for_test.py"
    module.write_text(APP)
    server = serve(
        "made_for_test:app", app_dir=str(tmp_path), startup_timeout=2.0, lifespan_shutdown_timeout=0.1
    )
    before = pids(server, "(template|worker|pool)")
    module.write_text(source)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(lambda entry: entry["event"].startswith("reload failed"))
    eventually(lambda: len(psutil.Process(server.pid).children(recursive=True)) == 3, "nothing new is left")
    assert pids(server, "(template|worker|pool)") == before
    assert httpx.get(server.url).status_code == 200


def test_a_template_that_does_not_answer_does_not_hold_up_the_end(serve: Serve) -> None:
    """Nobody tells of the deaths of its children then, and nobody can fork."""
    server = serve()
    [template], [worker] = pids(server, "template"), pids(server, "worker")
    os.kill(template, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    server.process.send_signal(signal.SIGQUIT)
    assert server.process.wait(20) == ExitCode.FORCED
    assert not psutil.pid_exists(template)
