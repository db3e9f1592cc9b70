"""Code and processes change while many clients are at it, and none of them has a reason to notice."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from hsrv.common.errors import OperatorError
from hsrv.common.terms import Role
from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.rpc.operator import ProcessStatus
from hsrv.supervisor.hands.templates import TEMPLATE_EXIT_TIMEOUT
from hsrv.testing import LiveServer
from tests.conftest import LONG
from tests.integration.conftest import Serve, descriptors, operate, parked, pids, reload
from tests.integration.conftest import status_of as status
from tests.integration.load import EVENT_STREAM, Load
from tests.integration.wire import Wire, eventually, request, upgrade

GRACE = 0.1
"""--stream-grace: every stream is ended by the next sweep after a reload."""

APP = "tests.apps.versioned:app"


class Code:
    """The version of the application's code, in a file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "version"
        self.version = 0
        self.next()

    def next(self) -> int:
        self.version += 1
        self.file.write_text(str(self.version))
        return self.version

    @property
    def env(self) -> dict[str, str]:
        return {"VERSION_FILE": str(self.file)}


@pytest.fixture
def code(tmp_path: Path) -> Code:
    return Code(tmp_path)


def start(serve: Serve, code: Code, **options: Any) -> LiveServer:
    return serve(APP, env=code.env, access_log=False, **{"workers": 2, "stream_grace": GRACE, **options})


def processes(server: LiveServer, role: str) -> list[ProcessStatus]:
    return [
        one for generation in status(server).generations for one in generation.processes if one.role == role
    ]


def usual_mix(server: LiveServer) -> Load:
    load = Load(server.host, server.port)
    return (
        load.add(16, "keep-alive", load.keep_alive(most=0.05))
        .add(8, "new connection", load.new_connections())
        .add(10, "event stream", load.event_streams())
        .add(10, "event stream in halves", load.event_streams("halves"))
        .add(20, "websocket", load.websockets())
    )


def trouble(server: LiveServer) -> list[str]:
    """What the server itself took for worth a warning."""
    return [str(entry) for entry in server.logs if entry.get("level") in ("warning", "error")]


def seen_by_all(load: Load, version: int) -> None:
    eventually(lambda: load.problems or load.latest >= version, f"version {version} answers")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that gets no time."""
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


# 1. reloads

RELOADS = 50 if LONG else 3


def test_reloads_in_a_row_and_nobody_notices(serve: Serve, code: Code) -> None:
    """Neither those whose request or answer takes its time."""
    server = start(serve, code)
    load = usual_mix(server)
    load.add(6, "byte by byte", load.byte_by_byte()).add(4, "pipeline", load.pipelines())
    load.add(2, "upload", load.uploads()).add(2, "chunked upload", load.uploads(chunked=True))
    load.add(3, "slow reader", load.slow_readers())
    with load:
        for _ in range(RELOADS):
            code.next()
            reload(server)
            assert load.problems == []
        seen_by_all(load, code.version)
        kinds = ("pipeline", "upload", "download")
        eventually(lambda: load.problems or min(load.done[kind] for kind in kinds) >= 10, "each was done")
    assert load.problems == []
    assert load.done["stream end"] >= 20, "streams really end"
    assert load.done["websocket end"] >= 20
    assert trouble(server) == []


# 2. other changes


def test_hup_scale_and_restarted_workers_are_not_noticed(serve: Serve, code: Code) -> None:
    server = start(serve, code)
    path = find(Target(server.run_dir))
    with usual_mix(server) as load:
        code.next()
        server.process.send_signal(signal.SIGHUP)
        seen_by_all(load, code.version)
        for workers in (3, 1, 2):
            ask(path, operator.SCALE, operator.ScaleParams(workers=workers))
        for slot in (1, 2):
            ask(path, operator.RESTART_WORKER, operator.RestartParams(slot=slot))
        assert load.problems == []
    assert load.problems == []
    assert trouble(server) == []


def test_killed_idle_workers_fail_no_request(serve: Serve, code: Code) -> None:
    """The connections stand in the parking lot meanwhile; the streams are in the pool and go on all the time."""
    server = start(serve, code, workers=3, park_after=0.05, stream_grace=30)
    load = Load(server.host, server.port)
    load.add(16, "keep-alive", load.keep_alive(most=0.05)).add(8, "new connection", load.new_connections())
    load.add(5, "event stream", load.event_streams()).add(5, "websocket", load.websockets())
    chance = random.Random(1)
    with load:
        for _ in range(2):
            load.pause()
            eventually(lambda: load.problems or len(load.resting) == 24, "all requests are answered")
            eventually(lambda: load.problems or parked(server) == 16, "and all connections are parked")
            victim = chance.choice(eventually(lambda: at_rest(server), "some worker runs nothing")).pid
            before = load.done["request"]
            os.kill(victim, signal.SIGKILL)
            load.resume()
            eventually(lambda: load.problems or load.done["request"] > before + 100, "they go on")  # noqa: B023  # called at once
            eventually(lambda: victim not in pids(server, "worker"), "it is gone")  # noqa: B023  # called at once
            eventually(lambda: len(pids(server, "worker")) == 3, "and replaced")
    assert load.problems == []


def at_rest(server: LiveServer) -> list[ProcessStatus]:
    """The workers that run nothing and hold no connection."""
    workers = [
        one for one in processes(server, "worker") if one.state == "serving" and one.report is not None
    ]
    return [one for one in workers if one.report and one.report.running == one.report.connections == 0]


# 3. requests that take their time


def test_a_stream_that_is_not_answered_yet_is_answered_before_it_is_ended(serve: Serve, code: Code) -> None:
    """To end it at once would be 503 for a WebSocket and a reset for an event stream."""
    server = start(serve, code)
    late = "late=1.5"  # more than the grace and the time to end
    with Wire(server.host, server.port) as sse, Wire(server.host, server.port) as websocket:
        sse.send(request(f"/sse?{late}", EVENT_STREAM))
        websocket.send(upgrade(f"/ws?{late}"))
        eventually(
            lambda: any(one.report and one.report.running == 2 for one in processes(server, "pool")),
            "both wait in the pool",
        )
        reload(server)
        assert sse.head().status == 200
        assert sse.chunked().endswith(b"\n\n")
        assert websocket.response().status == 101
        assert websocket.exactly(4) == b"\x88\x11" + (1012).to_bytes(2, "big")
    assert trouble(server) == []


# processes that stand still for a while


@pytest.mark.parametrize("role", ["worker", "pool"])
def test_a_request_that_came_in_time_is_served_by_a_process_that_stood_still(
    serve: Serve, code: Code, role: str
) -> None:
    keep_alive = 0.6
    server = start(serve, code, workers=1, keep_alive=keep_alive, park_after=0.1 if role == "pool" else 0)
    with Wire(server.host, server.port) as wire:
        wire.get("/")
        answered = time.monotonic()
        [pid] = pids(server, role)
        if role == "pool":
            eventually(lambda: parked(server) == 1, "it is parked")
        with stopped(pid):
            wire.send(request("/"))
            eventually(lambda: time.monotonic() > answered + keep_alive + 1, "its keep-alive is over")
        assert wire.response().status == 200


def test_an_old_worker_that_has_not_heard_of_its_drain_serves_nobody_who_saw_new_code(
    serve: Serve, code: Code
) -> None:
    server = start(serve, code, workers=1, park_after=0.1)
    [old] = pids(server, "worker")
    with stopped(old):
        code.next()
        reload(server)
        [new] = pids(server, "worker") - {old}
        with Wire(server.host, server.port) as wire:
            assert wire.get("/").json["version"] == 2
            eventually(lambda: parked(server) == 1, "it is parked")
            with stopped(new):
                wire.send(request("/"))
                eventually(lambda: parked(server) == 0, "it is on its way to whoever is free")
                psutil.Process(old).resume()
                eventually(lambda: old not in pids(server, "worker"), "the old worker has drained")
            assert wire.response().json["version"] == 2


# 4. reloads that fail

LIFESPAN_RAISES = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        raise ConnectionError("no database")
"""
BAD = {LIFESPAN_RAISES: "Traceback", "import os\nos.kill(os.getpid(), 9)\n": "SIGKILL"}
"""Source, and what is said of it. One is found out by a worker and one by the template."""

MOST_GROWTH = 1 << 20
"""Bytes of the supervisor's RSS, in however many reloads: what Python's allocator does by itself."""

GOOD = "from tests.apps.versioned import app\n"


def changing(serve: Serve, code: Code, **options: Any) -> tuple[LiveServer, Path]:
    """A server whose application can be any source; and its file."""
    source = code.file.parent / "changing.py"
    source.write_text(GOOD)
    server = serve("changing:app", env=code.env, access_log=False, app_dir=str(source.parent), **options)
    return server, source


def test_code_that_cannot_start_changes_nothing(serve: Serve, code: Code) -> None:
    server, source = changing(serve, code, stream_grace=GRACE)
    load = Load(server.host, server.port)
    load.add(4, "keep-alive", load.keep_alive(most=0.05))
    load.add(4, "event stream", load.event_streams()).add(4, "websocket", load.websockets())

    def ends() -> int:
        return load.done["stream end"] + load.done["websocket end"]

    with load:
        for bad, said in BAD.items():
            source.write_text(bad)
            ended = ends()
            done = operate(server, "reload")
            assert (done.returncode, said in done.stderr) == (1, True), done.stderr
            assert ends() == ended, "no stream was ended for it"
            source.write_text(GOOD)
            code.next()
            reload(server, wait=True)
            eventually(lambda: load.problems or ends() == ended + 8, "now every stream was ended, once")  # noqa: B023  # called at once
            seen_by_all(load, code.version)
            assert load.problems == []
    assert load.problems == []


def test_reloads_good_and_bad_leave_nothing_behind(serve: Serve, code: Code) -> None:
    server, source = changing(serve, code, workers=1)
    supervisor = psutil.Process(server.pid)
    bad = list(BAD)

    def turn(number: int) -> None:
        if number % 2:
            source.write_text(bad[number // 2 % len(bad)])
            with pytest.raises(OperatorError):
                reload(server)
        else:
            source.write_text(GOOD)
            reload(server, wait=True)

    def holds() -> tuple[int, int]:
        """Processes and descriptors."""
        return len(supervisor.children(recursive=True)), len(descriptors(server.pid))

    for number in range(4):  # what is loaded or kept once
        turn(number)
    one = {Role.TEMPLATE, Role.POOL, Role.WORKER}
    eventually(lambda: {child.role for child in server.children()} == one, "one generation serves")
    eventually(lambda: holds()[0] == len(one), "the others are gone")
    eventually(lambda: stable(holds), "nothing is being closed any more")
    before, memory = holds(), supervisor.memory_info().rss
    turns = 100 if LONG else 4
    for number in range(turns):
        turn(number)
    eventually(lambda: holds() == before, f"{before} processes and descriptors, as before")
    grown = supervisor.memory_info().rss - memory
    assert grown < MOST_GROWTH, f"the supervisor grew by {grown} bytes in {turns} reloads"


def stable(measure: Callable[[], tuple[int, int]]) -> bool:
    """Whether it stays the same for as long as the supervisor holds the channel of a template that has quit."""
    first, end = measure(), time.monotonic() + TEMPLATE_EXIT_TIMEOUT + 0.2
    while time.monotonic() < end:
        if measure() != first:
            return False
        time.sleep(0.02)
    return True


# 5. a long stream


def test_a_stream_outlives_three_reloads_and_its_connection_goes_on_with_the_fourth_generation(
    serve: Serve, code: Code
) -> None:
    server = start(serve, code, workers=1, stream_grace=60)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/sse?until=5", EVENT_STREAM))
        wire.head()
        assert b'"version": 1' in wire.chunk()
        for _ in range(3):
            code.next()
            reload(server)
        with Wire(server.host, server.port) as other:
            eventually(lambda: other.get("/").json["version"] == 4, "the fourth serves")
        wire.chunk()
        code.next()  # without a reload: the stream sees it and ends
        rest = wire.chunked()
        assert rest.endswith(b"\n\n")
        assert rest.count(b'"version": 1') == rest.count(b"data: ") > 0
        assert wire.get("/").json["version"] == 4
    eventually(
        lambda: [one.number for one in status(server).generations] == [4], "the old generations are gone"
    )
