"""`hsrv stacks`: where the processes are, also those that are stuck."""

import os
import signal
import subprocess
import sys

import pytest

from tests.integration.conftest import DEADLINE, Serve, operate
from tests.integration.wire import Wire, eventually, request

EVENT_STREAM = "Accept: text/event-stream"


@pytest.mark.parametrize(("path", "line"), [("/spin", "in spin"), ("/gil", "in hold_the_gil")])
def test_stacks_show_where_a_worker_is_stuck(serve: Serve, path: str, line: str) -> None:
    server = serve(workers=2)
    with Wire(server.host, server.port) as wire:
        wire.send(request(path))
        shown = eventually(lambda: shows(line, operate(server, "stacks").stdout), "the line is there")
        [stuck] = [part for part in shown.split("=== ") if line in part]
        assert stuck.startswith("worker-")
        assert "raw.py" in stuck
        assert "does not turn" in stuck
        slot = stuck.removeprefix("worker-").partition(" ")[0]
        assert line in operate(server, "stacks", slot).stdout
    server.process.send_signal(signal.SIGQUIT)


def shows(line: str, stacks: str) -> str:
    return stacks if line in stacks else ""


def test_stacks_show_what_a_stream_waits_for(common: Serve) -> None:
    server = common(workers=2)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/sse", EVENT_STREAM))
        wire.until(b"\n\n")
        done = operate(server, "stacks", "pool")
    assert "raw.py" in done.stdout
    assert "Task " in done.stdout
    assert "worker" not in done.stdout.splitlines()[0]
    unknown = operate(server, "stacks", "nobody")
    assert (unknown.returncode, "no process 'nobody'" in unknown.stderr) == (1, True)


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
