"""`hsrv top` and `hsrv status` in a real terminal, narrow and wide."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import ROOT, Serve, hsrv
from tests.integration.terminal import Terminal, terminal
from tests.integration.wire import Wire, eventually, request

WIDE = (140, 40)
NARROW = (60, 30)


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("tests.apps.raw:app", cwd=ROOT, workers=2, graceful_timeout=1) as one:
        yield one


@contextmanager
def watching(folder: Path, server: LiveServer, *arguments: str) -> Iterator[Terminal]:
    """`hsrv top` in a wide terminal, when it shows something."""
    with terminal(folder, ROOT, *WIDE) as window:
        window.run(["top", "--run-dir", server.run_dir, *arguments])
        eventually(lambda: "PROCESS" in window.text, "processes are shown")
        assert window.screen == ("other", False), "what stood there before comes back"
        yield window


def ended(window: Terminal, code: int) -> None:
    """The terminal is as it was before: another command can be typed and is seen."""
    eventually(lambda: f"exit={code}" in window.text, f"it ends with {code}")
    assert window.screen == ("usual", True)
    window.enter("stty -a | tr -d '\\n'")
    settings = eventually(lambda: "susp" in window.text and window.text, "what is typed is seen")
    assert "stty -a" in settings
    for one in (" icanon", " echo ", "susp = ^Z"):
        assert one in settings.replace("\n", "")


def row(window: Terminal, name: str) -> list[str]:
    return next((line.split() for line in window.lines if line.startswith(name)), [])


def test_top_shows_processes_requests_streams_and_events_and_q_ends_it(
    server: LiveServer, tmp_path: Path
) -> None:
    pool = server.children("pool")[0].pid
    with (
        watching(tmp_path, server) as window,
        Wire(server.host, server.port) as stream,
        Wire(server.host, server.port) as busy,
    ):
        stream.send(request("/sse", "Accept: text/event-stream"))
        stream.until(b"\n\n")
        busy.send(request("/sleep?s=20"))
        eventually(lambda: "GET /sleep for" in window.text, "what runs is shown")
        eventually(lambda: window.text.rstrip().count("/sse") == 1, "the stream is shown")
        assert row(window, "pool-1")[2] == str(pool)
        assert "EVENTS" in window.text
        assert "process ready  process=worker-1" in window.text
        window.resize(*NARROW)
        eventually(
            lambda: "GEN" not in window.text and "\n  GET /sleep for" in window.text, "it fits 60 columns"
        )
        assert max(map(len, window.lines)) <= NARROW[0]
        assert window.lines[-1].startswith("q quit")
        window.resize(*WIDE)
        eventually(lambda: "GEN" in window.text, "it fills 140 columns")
        window.type("q")
        ended(window, 0)


def test_top_counts_what_is_served_and_sorts_by_it(server: LiveServer, tmp_path: Path) -> None:
    with watching(tmp_path, server) as window, Wire(server.host, server.port) as wire:
        window.type("r")

        def counted() -> bool:
            for _ in range(20):
                wire.get("/")
            return any(cell not in ("0", "-") for cell in row(window, "worker ")[1:2])

        eventually(counted, "requests per second are shown")
        first = next(line for line in window.lines if line.startswith(("worker-", "pool-")))
        assert first.startswith("worker-"), "the pool serves none"
        window.type("q")
        ended(window, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_top_and_leaves_the_terminal_as_it_was(
    server: LiveServer, tmp_path: Path, number: signal.Signals
) -> None:
    with watching(tmp_path, server) as window:
        os.kill(window.foreground, number)
        ended(window, 0)


def test_a_worker_that_dies_is_seen_to_be_replaced(server: LiveServer, tmp_path: Path) -> None:
    with watching(tmp_path, server) as window:
        dead = server.children("worker")[0].pid
        eventually(lambda: str(dead) in row(window, "worker-1"), "it is shown")
        os.kill(dead, signal.SIGKILL)
        eventually(
            lambda: row(window, "worker-1") and str(dead) not in row(window, "worker-1"),
            "another one is shown",
        )
        window.type("q")
        ended(window, 0)


def test_a_server_that_answers_no_more_is_said_to_and_then_given_up(serve: Serve, tmp_path: Path) -> None:
    server = serve(workers=1)
    with watching(tmp_path, server, "--answer-timeout", "3") as window:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            eventually(lambda: "no answer from the server for" in window.text, "its silence is said")
            eventually(lambda: "exit=7" in window.text, "it is given up")
            assert "did not answer in time" in window.text
        finally:
            os.kill(server.pid, signal.SIGCONT)
        ended(window, 7)


def test_a_server_that_ends_is_said_to_have_ended(serve: Serve, tmp_path: Path) -> None:
    server = serve(workers=1)
    with watching(tmp_path, server) as window:
        os.kill(server.pid, signal.SIGTERM)
        eventually(lambda: f"the server with pid {server.pid} has ended" in window.text, "it is said")
        ended(window, 7)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_status_in_a_terminal(server: LiveServer, tmp_path: Path, size: tuple[int, int]) -> None:
    with terminal(tmp_path, ROOT, *size) as window:
        window.run(["status", "--run-dir", server.run_dir])
        eventually(lambda: "exit=0" in window.text, "it ends")
        for word in ("worker-1", "worker-2", "pool-1", "serving", "ready"):
            assert word in window.text


def test_without_a_terminal_top_says_what_to_use(server: LiveServer) -> None:
    done = hsrv("top", "--run-dir", server.run_dir)
    assert done.returncode == 1
    assert "status --watch" in done.stderr
