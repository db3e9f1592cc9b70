"""HUP, TTIN and TTOU: processes change, clients don't notice."""

import signal
import threading
from contextlib import suppress
from pathlib import Path

import psutil

from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.testing import LiveServer
from tests.integration.conftest import Serve, parked, pids
from tests.integration.wire import Wire, eventually, request

EVENT_STREAM = "Accept: text/event-stream"

APP = """
import asyncio, json, os
VERSION = {version!r}

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    kind = b"text/event-stream" if scope["path"] == "/sse" else b"application/json"
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}})
    answer = json.dumps({{"version": VERSION, "pid": os.getpid()}}).encode()
    if scope["path"] == "/sse":
        while True:
            await send({{"type": "http.response.body", "body": b"data: " + answer + b"\\n\\n", "more_body": True}})
            await asyncio.sleep(0.02)
    await send({{"type": "http.response.body", "body": answer}})
"""


def test_hup_serves_the_new_code_and_no_client_notices(serve: Serve, tmp_path: Path) -> None:
    source = tmp_path / "versioned.py"
    source.write_text(APP.format(version="one"))
    server = serve("versioned:app", app_dir=str(tmp_path), workers=2, stream_grace=0.3, access_log=False)
    wrong: list[str] = []
    versions: list[list[str]] = []
    kept: list[list[str]] = []
    stop = threading.Event()

    def client(keep: bool) -> None:
        seen: list[str] = []
        versions.append(seen)
        if keep:
            kept.append(seen)
        wire = Wire(server.host, server.port)
        try:
            while not stop.wait(0.002):
                seen.append(wire.get("/").json["version"])
                if not keep:
                    wire.sock.close()
                    wire = Wire(server.host, server.port)
        except (OSError, EOFError) as error:
            wrong.append(f"keep={keep}: {error!r}")
        finally:
            wire.sock.close()

    threads = [threading.Thread(target=client, args=(keep,)) for keep in (True, True, True, False, False)]
    with Wire(server.host, server.port) as stream:
        stream.send(request("/sse", EVENT_STREAM))
        stream.head()
        assert b'"one"' in stream.chunk()
        for thread in threads:
            thread.start()
        source.write_text(APP.format(version="two"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda entry: entry["event"] == "reloaded")
        eventually(lambda: all(seen and seen[-1] == "two" for seen in versions), "everyone sees the new code")
        stop.set()
        for thread in threads:
            thread.join()
        assert stream.chunked().endswith(b"\n\n"), "the old stream ends properly after its grace"
        assert stream.get("/").json["version"] == "two", "and its connection goes on with the new code"
    assert wrong == []
    for seen in kept:
        assert seen == sorted(seen), "versions never go backwards on one connection"
    eventually(
        lambda: len(pids(server, "worker")) == 2 and len(pids(server, "pool")) == 1, "the old are gone"
    )
    eventually(lambda: len(pids(server, "template")) == 1, "and their template")
    told = [entry["event"] for entry in server.logs]
    assert "application raised" not in told, "to go on sending after we ended its stream is no fault of it"


def test_streams_that_wait_for_an_old_pool_run_there_although_its_workers_are_gone(serve: Serve) -> None:
    server = serve(workers=2)
    [pool] = server.children("pool")
    pool.process.suspend()
    streams = [Wire(server.host, server.port) for _ in range(20)]
    try:
        for number, stream in enumerate(streams):
            stream.send(request(f"/sse?n=3&key={number}", EVENT_STREAM))
        eventually(lambda: sum(sent(server)) == len(streams), "all are handed over")
        old = pids(server, "worker")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: not old & pids(server, "worker"), "the old workers are gone")
        pool.process.resume()
        for stream in streams:
            answer = stream.response()
            assert answer.status == 200
            assert str(pool.pid).encode() in answer.body
    finally:
        with suppress(psutil.NoSuchProcess):  # it has served them all, and ended
            pool.process.resume()
        for stream in streams:
            stream.sock.close()
    eventually(lambda: pool.pid not in pids(server, "pool"), "the old pool ends")
    assert not [entry for entry in server.logs if "exception" in entry]


def test_streams_that_wait_for_an_old_pool_that_dies_run_in_the_new_one(serve: Serve) -> None:
    server = serve(workers=2)
    [pool] = server.children("pool")
    with Wire(server.host, server.port) as slow:
        slow.send(request("/sleep?s=1"))
        pool.process.suspend()
        streams = [Wire(server.host, server.port) for _ in range(20)]
        for number, stream in enumerate(streams):
            stream.send(request(f"/sse?n=3&key={number}", EVENT_STREAM))
        eventually(lambda: sum(sent(server)) == len(streams), "all are handed over")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda entry: entry["event"] == "reloaded")
        pool.process.kill()
        for stream in streams:
            answer = stream.response()
            assert answer.status == 200
            assert b'"generation": 2' in answer.body
            stream.sock.close()
        assert slow.response().status == 200


def test_a_worker_that_slept_through_a_reload_takes_no_connection_that_the_new_code_has_served(
    serve: Serve,
) -> None:
    server = serve(workers=1, park_after=0.1)
    [old] = server.children("worker")
    old.process.suspend()
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(lambda entry: entry["event"] == "reloaded")
    [new] = [child for child in server.children("worker") if child.generation == 2]
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").json["generation"] == 2
        eventually(lambda: parked(server), "the connection is parked")
        new.process.suspend()
        try:
            wire.send(request("/"))
            eventually(lambda: not parked(server), "it goes to whichever worker is free")
            old.process.resume()
            eventually(lambda: old.pid not in pids(server, "worker"), "the old worker is gone")
        finally:
            new.process.resume()
        assert wire.response().json["generation"] == 2


def sent(server: LiveServer) -> list[int]:
    """Handoffs sent, by worker."""
    status = ask(find(Target(run_dir=server.run_dir)), operator.STATUS, operator.StatusParams())
    processes = [one for generation in status.generations for one in generation.processes]
    return [one.report.handoffs_sent for one in processes if one.report is not None]


def test_a_reload_that_cannot_start_leaves_the_running_code(serve: Serve, tmp_path: Path) -> None:
    source = tmp_path / "versioned.py"
    source.write_text(APP.format(version="one"))
    server = serve("versioned:app", app_dir=str(tmp_path), workers=2)
    with Wire(server.host, server.port) as wire:
        workers = pids(server, "worker")
        assert wire.get("/").json["pid"] in workers
        source.write_text("def broken(:\n")
        server.process.send_signal(signal.SIGHUP)
        entry = server.wait_for_log(lambda entry: entry["event"].startswith("reload failed"))
        assert "versioned" in entry["error"]
        answer = wire.get("/").json  # of either worker: on a busy machine it has been parked
        assert (answer["version"], answer["pid"] in workers) == ("one", True)
        source.write_text(APP.format(version="two"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda entry: entry["event"] == "reloaded")
        eventually(
            lambda: wire.get("/").json["version"] == "two", "the mended code serves the same connection"
        )


def test_ttin_and_ttou_scale_by_one_and_lose_nothing(serve: Serve) -> None:
    server = serve(workers=2)
    with Wire(server.host, server.port) as wire:
        wire.get("/")
        server.process.send_signal(signal.SIGTTIN)
        await_workers(server, 3)
        for expected in (2, 1):
            server.process.send_signal(signal.SIGTTOU)
            await_workers(server, expected)
            assert wire.get("/").status == 200, "the kept connection has moved"
        server.process.send_signal(signal.SIGTTOU)
        assert wire.get("/").status == 200, "the last worker stays"
        assert len(pids(server, "worker")) == 1


def await_workers(server: LiveServer, count: int) -> None:
    eventually(lambda: len(pids(server, "worker")) == count, f"{count} workers")
