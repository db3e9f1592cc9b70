"""Processes that hang, die or grow: noticed, told with their reason, replaced, and nobody else is harmed."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.integration.conftest import DEADLINE, Serve, pids, status_of
from tests.integration.wire import Wire, eventually, request

APP = "tests.apps.ill:app"
QUICK = {"request_timeout": 1.5, "gil_timeout": 1.5, "hang_grace": 0.5, "stall_timeout": 0.75}


def status(server: LiveServer) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(status_of(server))
    return found


class Clients:
    """Some that keep their connection and ask now and then, and some that come anew each time."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self._kept_threads = [threading.Thread(target=self._keep) for _ in range(6)]
        self._threads = [*self._kept_threads, *(threading.Thread(target=self._come_and_go) for _ in range(2))]
        self.wrong: list[str] = []
        self.served = 0

    def _keep(self) -> None:
        try:
            with Wire(self._server.host, self._server.port) as wire:
                while not self._stop.is_set():
                    self._ask(wire)
                    self._stop.wait(0.05)
        except (OSError, EOFError) as error:
            self.wrong.append(f"kept connection: {error!r}")

    def _come_and_go(self) -> None:
        while not self._stop.is_set():
            try:
                with Wire(self._server.host, self._server.port) as wire:
                    self._ask(wire)
                self._stop.wait(0.05)
            except (OSError, EOFError) as error:
                self.wrong.append(f"new connection: {error!r}")

    def _ask(self, wire: Wire) -> None:
        answer = wire.get("/ok").status
        if answer != 200:
            self.wrong.append(str(answer))
        self.served += 1

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.served > 50, "the clients are served")
        return self

    def __exit__(self, *_: object) -> None:
        before = self.served
        eventually(lambda: self.served > before + 50, "the clients are still served")
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def sent(server: LiveServer, target: str, *fields: str) -> Iterator[Wire]:
    with Wire(server.host, server.port) as wire:
        wire.send(request(target, *fields))
        yield wire


def is_cut(wire: Wire) -> bool:
    """Whether the connection ends without a further byte: nothing that was begun is completed."""
    try:
        return wire.rest() in (b"", b"\r\n")  # that of the chunk before
    except ConnectionResetError:
        return True


def hang_of(server: LiveServer, path: str) -> dict[str, Any]:
    return server.wait_for_log(
        lambda entry: entry["event"] == "process hangs" and entry.get("path") == path, timeout=DEADLINE
    )


@pytest.mark.parametrize("path", ["/spin", "/block", "/later", "/child", "/gil"])
def test_a_worker_that_hangs_is_noticed_explained_and_replaced(serve: Serve, path: str) -> None:
    sooner = {"gil_timeout": 0.9} if path == "/gil" else {"request_timeout": 0.8}
    server = serve(APP, workers=2, **{**QUICK, **sooner})
    # While the GIL is held, nothing in the process can give its kept connections to others.
    with Clients(server) if path != "/gil" else contextlib.nullcontext() as clients:
        with sent(server, path, "X-Request-ID: the-culprit") as wire:
            hang = hang_of(server, path)
            victim = hang["child"]
            assert hang["kind"] == ("gil_held" if path == "/gil" else "loop_blocked")
            assert hang["method"] == "GET"
            assert hang["request_id"] == "the-culprit"
            assert hang["client"] == "127.0.0.1"
            guilty = {"/child": "block", "/gil": "hold_the_gil"}.get(path, path.strip("/"))
            assert f"in {guilty}" in hang["stacks"], "who is to blame"
            death = server.wait_for_log(
                lambda entry: entry["event"] == "process died" and entry["child"] == victim
            )
            assert "hangs" in death["reason"]
            assert is_cut(wire), "its client is cut"
        eventually(lambda: len(pids(server, "worker") - {victim}) == 2, "it is replaced")
    assert clients is None or clients.wrong == []
    assert status(server)["deaths"] == {"worker hung": 1}


def test_a_call_that_can_t_be_cancelled_is_answered_and_its_worker_replaced_in_peace(serve: Serve) -> None:
    server = serve(APP, workers=2, graceful_timeout=1.0, **QUICK)
    with Clients(server) as clients, sent(server, "/thread") as wire:
        assert wire.response().status == 504
        hang = hang_of(server, "/thread")
        assert hang["kind"] == "call_stuck"
        assert "thread" in hang["stacks"]
        eventually(lambda: hang["child"] not in pids(server, "worker"), "it is gone")
        eventually(lambda: len(pids(server, "worker")) == 2, "and replaced")
    assert clients.wrong == []
    recycled = server.wait_for_log(lambda entry: entry["event"] == "recycling")
    assert "--request-timeout" in recycled["why"]


def test_a_request_that_waits_too_long_is_answered_and_its_worker_goes_on(common: Serve) -> None:
    server = common(APP, workers=1, **QUICK)
    worker = pids(server, "worker")
    before = timed_out(server)
    with sent(server, "/wait?s=60") as wire, sent(server, "/begun?s=60") as begun:
        assert wire.response().status == 504
        line = server.wait_for_log(
            lambda entry: entry["event"] == "request timed out" and entry["path"] == "/wait"
        )
        assert "sleep" in line["stacks"], "where it waited"
        begun.until(b"part")
        assert is_cut(begun), "what was begun can't be answered any more"
    with sent(server, f"/wait?s={QUICK['hang_grace']}") as wire:
        assert wire.response().status == 200, "it serves also when the grace of a hang would be over"
    assert pids(server, "worker") == worker
    assert [entry for entry in server.logs if entry["event"] == "process hangs"] == []
    eventually(lambda: timed_out(server) >= before + 2, "both are counted")
    assert timed_out(server) == before + 2


def timed_out(server: LiveServer) -> int:
    return int(status(server)["totals"]["worker"]["counts"]["timed_out"])


def test_what_is_no_request_any_more_or_waits_for_its_client_is_left_alone(common: Serve) -> None:
    server = common(APP, workers=1, **QUICK)
    longer = QUICK["request_timeout"] + 1.0
    with Wire(server.host, server.port) as upload, sent(server, f"/background?s={longer}") as background:
        assert background.response().status == 200
        upload.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() - began < longer:
            upload.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            time.sleep(0.1)
        upload.send(b"0\r\n\r\n")
        assert upload.response().status == 200
    events = ("request timed out", "process hangs")
    paths = ("/background", "/upload")
    assert [one for one in server.logs if one["event"] in events and one["path"] in paths] == []


def test_what_an_application_does_to_its_scope_makes_no_healthy_worker_look_hung(common: Serve) -> None:
    server = common(APP, workers=1, **QUICK)
    worker = pids(server, "worker")
    with sent(server, "/odd_scope?s=1.2") as wire:
        assert wire.response().status == 200
    with sent(server, "/wait?s=1") as wire:  # longer than --gil-timeout after the stall
        assert wire.response().status == 200
    for _ in range(2):  # and it serves until --gil-timeout is over once more
        with sent(server, f"/wait?s={QUICK['gil_timeout'] / 2}") as wire:
            assert wire.response().status == 200
    assert pids(server, "worker") == worker
    assert [entry for entry in server.logs if entry["event"] in ("process hangs", "killing")] == []


def test_the_time_that_a_short_body_takes_is_its_client_s(common: Serve) -> None:
    server = common(APP, workers=1, **QUICK)
    with Wire(server.host, server.port) as wire:
        wire.send(b"POST /upload?s=0.7 HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
        for byte in (b"1", b"2", b"3", b"4", b"5", b"6"):
            time.sleep(0.3)
            wire.send(byte)
        assert wire.response().status == 200


def test_a_stream_counts_once_and_ends_also_when_its_last_bytes_had_to_wait(
    common: Serve, common_record: Path
) -> None:
    server = common(APP, workers=1, **QUICK)
    before = status(server)["totals"]["worker"]
    with Wire(server.host, server.port) as wire:
        wire.send(request("/download?mib=16"))
        eventually(lambda: "downloaded" in recorded(common_record), "the call has returned")
        assert len(wire.response().body) > 16 << 20

    def ended() -> int:
        return sum(status(server)["totals"]["worker"]["stream_ended"].values())

    eventually(lambda: ended() > sum(before["stream_ended"].values()), "it ended")
    totals = status(server)["totals"]["worker"]
    assert ended() - sum(before["stream_ended"].values()) == 1
    assert totals["requests"]["2xx"] - before["requests"]["2xx"] == 1
    assert totals["counts"]["streams_opened"] - before["counts"]["streams_opened"] == 1


def test_whoever_is_refused_is_answered_and_so_counts_as_that(common: Serve) -> None:
    """By whichever process reads its head: where workers lack CPU, the pool does."""
    server = common(APP, workers=1, **QUICK)
    before = of_both_roles(server)
    for _ in range(3):
        with Wire(server.host, server.port) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
            assert wire.response().status == 400
    eventually(lambda: of_both_roles(server)["4xx"] - before["4xx"] >= 3, "they are counted")
    after = of_both_roles(server)
    assert (after["4xx"] - before["4xx"], after["refused"] - before["refused"]) == (3, 3)


def of_both_roles(server: LiveServer) -> dict[str, int]:
    totals = status(server)["totals"]
    return {
        "4xx": sum(one["requests"]["4xx"] for one in totals.values()),
        "refused": sum(one["counts"]["refused"] for one in totals.values()),
    }


def test_a_stream_that_blocks_the_pool_is_reported_with_its_coroutine_and_the_pool_lives(
    serve: Serve,
) -> None:
    server = serve(APP, workers=1, **QUICK)
    pool = pids(server, "pool")
    with sent(server, "/stall?s=2.5", "Accept: text/event-stream") as stream:
        stream.until(b"data: 1\n\n")
        hang = hang_of(server, "/stall")
        assert hang["process"] == "pool-1"
        assert "stall (" in hang["where"]
        assert "in stall" in hang["stacks"]
        stream.until(b"data: 2\n\n")
    server.wait_for_log(lambda entry: entry["event"] == "process goes on")
    assert pids(server, "pool") == pool


def test_a_pool_that_hangs_is_replaced_if_asked_for(serve: Serve) -> None:
    server = serve(APP, workers=1, pool_hang_action="replace", **QUICK)
    pool = pids(server, "pool")
    with sent(server, "/stall?s=600", "Accept: text/event-stream") as stream:
        stream.until(b"data: 1\n\n")
        assert is_cut(stream)
    eventually(lambda: pids(server, "pool") and not pids(server, "pool") & pool, "another one")
    assert status(server)["deaths"] == {"pool hung": 1}


def test_a_hang_may_be_reported_only(serve: Serve) -> None:
    server = serve(APP, workers=1, hang_action="report", **{**QUICK, "request_timeout": 0.5})
    worker = pids(server, "worker")
    with sent(server, "/burn?s=1.8") as wire:
        hang_of(server, "/burn")
        assert wire.response().status == 200, "it came to its end"
    server.wait_for_log(lambda entry: entry["event"] == "process goes on")
    assert pids(server, "worker") == worker


def test_a_stopped_process_is_told_from_one_that_computes(serve: Serve) -> None:
    server = serve(APP, workers=2, hang_action="report", **QUICK)
    victim = min(pids(server, "worker"))
    os.kill(victim, signal.SIGSTOP)
    try:
        hang = server.wait_for_log(lambda entry: entry["event"] == "process hangs")
        assert (hang["child"], hang["state"]) == (victim, "stopped")
    finally:
        os.kill(victim, signal.SIGCONT)


@pytest.mark.parametrize(
    ("path", "words", "counted"),
    [("/leave", "exited with code 1", "worker exit"), ("/segfault", "SIGSEGV", "worker signal")],
)
def test_a_death_has_its_reason(serve: Serve, path: str, words: str, counted: str) -> None:
    server = serve(APP, workers=2)
    with Clients(server) as clients, sent(server, path) as wire:
        assert is_cut(wire)
        death = server.wait_for_log(lambda entry: entry["event"] == "process died")
        assert words in death["reason"]
    if path == "/segfault":
        stacks = server.wait_for_log(lambda entry: "stacks" in entry)["stacks"]
        assert "segfault" in stacks, "what a crash leaves is logged"
    assert status(server)["deaths"] == {counted: 1}
    assert clients.served, "what was in the same process is lost, the others go on"


def test_a_slow_import_is_no_hang(serve: Serve) -> None:
    seconds = os.environ.get("SOAK_IMPORT_SECONDS", "2.5")
    server = serve(
        "tests.apps.slow_import:app",
        env={"IMPORT_SECONDS": seconds},
        preload="none",
        **QUICK,
    )
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 200
    assert [entry for entry in server.logs if entry["event"] in ("process hangs", "killing")] == []


def test_a_leaking_application_is_recycled_at_the_limit_without_a_failed_request(serve: Serve) -> None:
    server = serve(APP, workers=2, worker_max_memory=160 << 20)
    first = pids(server, "worker")
    with Clients(server) as clients:
        end = time.monotonic() + 2 * DEADLINE
        while first & pids(server, "worker"):
            assert time.monotonic() < end
            with Wire(server.host, server.port) as wire:
                assert wire.get("/leak?mib=4").status == 200
    assert clients.wrong == []
    line = server.wait_for_log(lambda entry: entry["event"] == "recycling")
    assert "--worker-max-memory" in line["why"]
    assert status(server)["deaths"] == {}


def test_workers_are_replaced_when_they_are_old(serve: Serve) -> None:
    server = serve(APP, workers=2, worker_max_age=2)
    first = pids(server, "worker")
    with Clients(server) as clients:
        eventually(lambda: not first & pids(server, "worker"), "all are new")
    assert clients.wrong == []
    assert "--worker-max-age" in json.dumps(server.wait_for_log(lambda entry: entry["event"] == "recycling"))


def test_nobody_is_taken_for_hung_when_the_machine_is_busy(serve: Serve) -> None:
    """Two processes per core that compute, for longer than a hang would need to be noticed."""
    seconds = float(os.environ.get("SOAK_BUSY_SECONDS", "2.5"))
    limit = min(4.0, 0.6 * seconds)
    server = serve(APP, workers=2, request_timeout=limit, gil_timeout=limit, hang_grace=0.5)
    family = pids(server, "worker") | pids(server, "pool")
    with neighbours(2 * (os.cpu_count() or 1)), Clients(server) as clients:
        time.sleep(seconds)
    assert clients.wrong == []
    assert pids(server, "worker") | pids(server, "pool") == family
    hangs = [entry for entry in server.logs if entry["event"] == "process hangs"]
    assert [entry for entry in hangs if entry["process"].startswith("worker")] == []


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that take all the CPU they get."""
    busy = [psutil.Popen(["python3", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()
