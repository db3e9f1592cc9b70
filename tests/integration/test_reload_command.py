"""`hsrv reload`: what it tells, how it fails, and what it shares with others that ask at the same time."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.integration.conftest import DEADLINE, Serve, hsrv, operate, raw_request, reload, write_version
from tests.integration.conftest import status_of as status
from tests.integration.wire import Wire, eventually, request


def test_reload_tells_its_steps_and_ends_when_the_new_code_serves(serve: Serve, code: Path) -> None:
    server = serve("changing:app", app_dir=code, workers=2)
    write_version(code, "VERSION = 'two'")
    done = hsrv("reload", "--wait", "--run-dir", server.run_dir)
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
        done = operate(server, "reload")
        assert done.returncode == 1
        assert told in done.stderr
        assert "changing.py" in done.stderr or "_exit" in broken
        with Wire(server.host, server.port) as wire:
            assert wire.get("/").body == b"one"
    write_version(code, "VERSION = 'mended'")
    assert operate(server, "reload", "--wait").returncode == 0  # else an old worker may still accept one
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").body == b"mended"


def test_reloads_at_the_same_time_share_one(serve: Serve) -> None:
    server = serve()
    with ThreadPoolExecutor(4) as operators:
        results = list(operators.map(reload, [server] * 4))
    different = len({result.reload_id for result in results})
    assert different <= 3, "whoever asks while one waits shares it"
    eventually(lambda: status(server).generations[-1].number == 1 + different, "a generation for each")


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


def test_a_worker_that_was_asked_while_it_computed_still_obeys(serve: Serve) -> None:
    """Questions that it could not read must not take the place of the command that follows them."""
    server = serve(workers=1, lifespan_shutdown_timeout=1)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/burn?s=4"))
        eventually(lambda: not status(server).generations[0].processes[1].answers, "it computes")
        for _ in range(150):
            raw_request(server, method="status")
        reload(server, wait=True)
        assert wire.response().status == 200
    commands = [entry for entry in server.logs if entry["event"] == "killing"]
    assert commands == []
