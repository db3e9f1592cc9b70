"""Applications of several frameworks behind several workers."""

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, eventually, request

MB = 1 << 20


@pytest.fixture
def raw(common: Serve) -> LiveServer:
    return common(workers=3)


@pytest.fixture
def fastapi(common: Serve) -> LiveServer:
    return common("tests.apps.fastapi_app:app", workers=3)


@pytest.mark.parametrize("name", ["raw", "starlette_app", "litestar_app", "django_app"])
def test_answers_uploads_and_downloads(common: Serve, name: str) -> None:
    server = common(workers=3) if name == "raw" else common(f"tests.apps.{name}:app", workers=3)
    upload = os.urandom(MB)
    download = "/big?size=" if name == "raw" else "/download?size="
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert client.get("/").status_code == 200
        for _ in range(3):
            assert client.post("/echo", content=upload).content == upload
        parts = [upload[at : at + 10_000] for at in range(0, MB, 10_000)]
        assert client.post("/echo", content=iter(parts)).content == upload
        assert len(client.get(f"{download}{4 * MB}").content) == 4 * MB
        assert client.get("/").status_code == 200
        assert client.get("/nowhere").status_code == 404


def test_chunks_travel_both_ways_at_once(raw: LiveServer) -> None:
    server = raw
    upload = os.urandom(MB)
    parts = [upload[at : at + 30_000] for at in range(0, MB, 30_000)]
    response = httpx.post(f"{server.url}/echo-chunked", content=iter(parts), timeout=30)
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.content == upload


def test_keep_alive_serves_many_requests_on_one_connection(raw: LiveServer) -> None:
    server = raw
    with httpx.Client(base_url=server.url, limits=httpx.Limits(max_connections=1)) as client:
        pids = {client.get("/").json()["pid"] for _ in range(50)}
    assert len(pids) == 1, "a kept connection stays with its worker"


def test_fastapi(fastapi: LiveServer) -> None:
    server = fastapi
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert client.get("/").json()["role"] == "worker"
        assert client.get("/sync").status_code == 200
        assert client.post("/items", json={"name": "a", "price": 1.5}).json() == {"name": "a", "price": 1.5}
        assert client.post("/items", json={}).status_code == 422
        assert client.post("/upload", files={"file": os.urandom(MB)}).json() == {"size": MB}
        assert len(client.get(f"/download?size={4 * MB}").content) == 4 * MB
        events = client.get("/chat/7/events", headers={"accept": "text/event-stream"}).text
        assert events == "data: 0 pool 7\n\ndata: 1 pool 7\n\ndata: 2 pool 7\n\n"


def test_background_tasks_run_once(fastapi: LiveServer, common_record: Path) -> None:
    with httpx.Client(base_url=fastapi.url) as client:
        for number in range(40):
            assert client.post(f"/background?key={number}").json() == {"ok": True}
    expected = sorted(f"background {number}" for number in range(40))
    eventually(
        lambda: sorted(background_tasks(common_record)) == expected, "each background task ran exactly once"
    )


def background_tasks(record: Path) -> list[str]:
    return [line for line in recorded(record) if line.startswith("background ")]


def test_a_background_task_does_not_hold_its_connection(serve: Serve, record: Path) -> None:
    server = serve(workers=1)
    with httpx.Client(base_url=server.url, timeout=10) as client:
        client.get("/background?s=1&key=slow")
        client.get("/count?key=next")
    assert "count next" in recorded(record)
    assert "background slow" not in recorded(record)
    eventually(lambda: "background slow" in recorded(record), "the background task ends")


def test_learned_routes_generalise_over_path_parameters(serve: Serve) -> None:
    """After one unannounced stream, every path of the same route goes to the pool."""
    server = serve("tests.apps.fastapi_app:app", workers=2)
    assert "worker" in httpx.get(f"{server.url}/chat/1/events").text
    eventually(lambda: "pool" in httpx.get(f"{server.url}/chat/2/events").text, "the route is learned")
    assert "pool" in httpx.get(f"{server.url}/chat/3/events").text


def test_many_clients_at_once(fastapi: LiveServer) -> None:
    server = fastapi

    async def scenario() -> set[int]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            answers = await asyncio.gather(*(client.get("/") for _ in range(100)))
        return {answer.json()["pid"] for answer in answers}

    assert len(asyncio.run(scenario())) > 1


def test_a_client_that_leaves_is_no_error_of_the_application(common: Serve) -> None:
    """Starlette raises an error of its own when send() fails."""
    server = common("tests.apps.starlette_app:app", workers=3)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/download?size=50000000"))
        wire.head()
    server.wait_for_log(lambda entry: entry["event"] == "response cut")
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 200
    assert not [entry for entry in server.logs if entry.get("level") == "error"]
