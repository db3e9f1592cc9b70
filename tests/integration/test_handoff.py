"""A handoff that finds no room or no pool: 503 with Retry-After, and no socket lost."""

import os
import signal
from collections import Counter
from pathlib import Path

from hsrv.testing import LiveServer
from tests.integration.conftest import Serve, pids
from tests.integration.wire import Wire, eventually, request, upgrade

EVENT_STREAM = "Accept: text/event-stream"


def test_a_full_channel_is_answered_with_503_and_the_queued_are_served(serve: Serve) -> None:
    server = serve(workers=2, handoff_timeout=0.5)
    (pool,) = pids(server, "pool")
    os.kill(pool, signal.SIGSTOP)
    wires = [Wire(server.host, server.port) for _ in range(200)]
    for wire in wires:
        wire.send(request("/sse?n=1", EVENT_STREAM, f"X-Pad: {'x' * 8000}"))
    server.wait_for_log(lambda entry: entry["event"] == "request shed")
    with Wire(server.host, server.port) as other:
        assert other.get("/").status == 200, "the workers go on"
    os.kill(pool, signal.SIGCONT)
    outcomes: Counter[int] = Counter()
    for wire in wires:
        answer = wire.response()
        outcomes[answer.status] += 1
        if answer.status == 503:
            assert int(answer.headers["retry-after"]) > 0
        else:
            assert f'"pid": {pool}'.encode() in answer.body
        wire.sock.close()
    assert set(outcomes) == {200, 503}
    assert outcomes.total() == 200
    with Wire(server.host, server.port) as wire:
        assert wire.get("/sse?n=1", EVENT_STREAM).status == 200, "there is room again"


def test_without_a_pool_streams_get_503_until_there_is_one_again(serve: Serve, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    server = serve("tests.apps.fragile:app", workers=2, handoff_timeout=0.5, env={"BROKEN": str(broken)})
    broken.touch()
    (pool,) = pids(server, "pool")
    os.kill(pool, signal.SIGSTOP)
    with Wire(server.host, server.port) as queued, Wire(server.host, server.port) as socket:
        queued.send(request("/sse?n=1", EVENT_STREAM))
        socket.send(upgrade("/ws"))
        with Wire(server.host, server.port) as wire:
            assert wire.get("/").status == 200, "both are in the channel"
        os.kill(pool, signal.SIGKILL)
        for wire in (queued, socket):
            answer = wire.response()
            assert answer.status == 503, "what waited in the channel is answered too"
            assert answer.headers["retry-after"]
    with Wire(server.host, server.port) as late:
        assert late.get("/sse?n=1", EVENT_STREAM).status == 503
        assert late.ended()
    broken.unlink()
    eventually(lambda: stream_status(server) == 200, "a pool serves again")


def stream_status(server: LiveServer) -> int:
    with Wire(server.host, server.port) as wire:
        return wire.get("/sse?n=1", EVENT_STREAM).status
