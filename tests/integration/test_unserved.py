"""When the processes of an application end, or can't start: nobody is cut, and nobody waits for ever."""

import os
import signal
from pathlib import Path

import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import Serve, pids
from tests.integration.wire import Wire, eventually, request

APP = "tests.apps.exiting:app"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """While it exists, no process of the application starts."""
    return tmp_path / "broken"


@pytest.mark.parametrize(
    "options", [{"loop": "uvloop"}, {"loop": "asyncio", "reload": True, "preload": "none"}]
)
def test_a_task_that_exits_ends_alone_in_worker_and_pool(
    serve: Serve, broken: Path, options: dict[str, object]
) -> None:
    server = serve(APP, workers=1, stream=["/pool*"], env={"BROKEN": str(broken)}, **options)
    for role, path in (("worker", "/exit"), ("pool", "/pool/exit")):
        [before] = pids(server, role)
        with Wire(server.host, server.port) as one, Wire(server.host, server.port) as beside:
            one.send(request(path))
            beside.send(request(path))
            assert [wire.response().body for wire in (one, beside)] == [str(before).encode()] * 2
        assert pids(server, role) == {before}
    server.stop()
    errors = [entry for entry in server.logs if entry.get("level") in ("error", "critical")]
    assert [entry["event"] for entry in errors] == ["a task of the application tried to exit"] * 4
    for entry in errors:
        assert "SystemExit: enough" in entry["exception"]
        assert "child.py" not in entry["exception"], "only the application's part"


def without(serve: Serve, broken: Path, *roles: str, **options: object) -> LiveServer:
    """A server whose processes of these roles are gone, and can't start."""
    server = serve(APP, workers=1, queue_timeout=0.5, env={"BROKEN": str(broken)}, **options)
    broken.touch()
    for role in roles:
        [process] = pids(server, role)
        os.kill(process, signal.SIGKILL)
    eventually(lambda: not any(pids(server, role) for role in roles), "they are gone")
    return server


def test_while_only_a_pool_is_there_streams_begin_and_requests_get_503(serve: Serve, broken: Path) -> None:
    server = without(serve, broken, "worker", stream=["/pool"])
    with Wire(server.host, server.port) as wire, Wire(server.host, server.port) as other:
        wire.send(request("/"))
        [pool] = pids(server, "pool")
        for one in (other, other):
            assert one.get("/pool").body == str(pool).encode()
        answer = wire.response()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert wire.ended()
        for _ in range(5):
            with Wire(server.host, server.port) as new:
                assert new.get("/pool").status == 200, "also after the queue timeout"
        broken.unlink()
        eventually(lambda: pids(server, "worker"), "there is a worker again")
        assert other.get("/").body != str(pool).encode()


@pytest.mark.parametrize("options", [{}, {"reload": True, "preload": "none"}])
def test_while_no_process_can_start_clients_get_503_after_the_queue_timeout(
    serve: Serve, broken: Path, options: dict[str, object]
) -> None:
    server = without(serve, broken, "worker", "pool", **options)
    with Wire(server.host, server.port) as early:
        answer = early.get("/")
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert early.ended()
    with Wire(server.host, server.port) as idle, Wire(server.host, server.port) as late:
        assert late.get("/").status == 503, "also beside one that says nothing"
        broken.unlink()
        assert idle.ended()

    def served() -> bool:
        with Wire(server.host, server.port) as wire:
            return wire.get("/").status == 200

    eventually(served, "there is a worker again")
    told = server.wait_for_log(lambda entry: entry["event"] == "a worker serves again")
    assert told["refused"] >= 2
