"""`hsrv reload`: what it tells, how it fails, and what it shares with others that ask at the same time."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hsrv.common.errors import OperatorError
from tests.integration.conftest import DEADLINE, Serve, operate, raw_request, reload, write_version
from tests.integration.conftest import status_of as status
from tests.integration.wire import Wire, eventually, request


def test_reload_tells_its_steps_and_how_it_ends(serve: Serve, code: Path) -> None:
    server = serve("changing:app", app_dir=code, workers=2)
    write_version(code, "1 / 0")
    done = operate(server, "reload")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "changing.py" in done.stderr
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").body == b"one", "the old code goes on"
    write_version(code, "VERSION = 'two'")
    done = operate(server, "reload", "--wait")
    assert done.returncode == 0, done.stderr
    [number] = [one.number for one in status(server).generations]
    assert f"generation {number} serves" in done.stdout
    assert "3 of 3 processes ready" in done.stderr
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").body == b"two"


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
    with ThreadPoolExecutor(2) as operators:
        reloads = [operators.submit(reload, server) for _ in range(2)]
        server.wait_for_log(lambda entry: entry["event"] == "reload queued")
        server.process.send_signal(signal.SIGTERM)
        for one in reloads:
            with pytest.raises(OperatorError, match="the server stops"):
                one.result(DEADLINE)


def test_a_worker_that_was_asked_while_it_computed_still_obeys(serve: Serve) -> None:
    """Questions that it could not read must not take the place of the command that follows them."""
    server = serve(workers=1, lifespan_shutdown_timeout=1)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/burn?s=2"))
        eventually(lambda: not status(server).generations[0].processes[1].answers, "it computes")
        for _ in range(150):
            raw_request(server, method="status")
        reload(server, wait=True)
        assert wire.response().status == 200
    commands = [entry for entry in server.logs if entry["event"] == "killing"]
    assert commands == []
