"""Flask, Django, Bottle, Pyramid and Falcon; and both applications of a Django project in one server."""

import importlib.util
import os
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from hsrv.testing import LiveServer
from tests.apps import djangosite
from tests.integration.conftest import Serve, reload
from tests.integration.wire import Wire, eventually, masked, request, upgrade

MB = 1 << 20
EVENT_STREAM = {"accept": "text/event-stream"}


def needs(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (an extra of pyproject.toml: test)")


@pytest.mark.parametrize("name", ["bottle", "pyramid", "falcon"])
def test_small_frameworks(common: Serve, name: str) -> None:
    needs(name)
    server = common(f"tests.apps.small_wsgi:{name}")
    with httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.get("/").json() == {"hello": "world"}
        assert client.post("/echo", content=b"x" * MB).content == b"x" * MB
        assert client.get("/ticks", headers=EVENT_STREAM).text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert client.get("/nowhere").status_code == 404


def test_flask(common: Serve, common_record: Path) -> None:
    needs("flask")
    server = common("tests.apps.flask_app:app", workers=2)
    upload = os.urandom(MB)
    with httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.get("/").json()["hello"] == "world"
        assert client.post("/echo", content=iter([upload[:1000], upload[1000:]])).content == upload
        assert client.post("/upload", files={"file": upload}).json() == {"size": MB}
        download = client.get("/download")
        assert download.content == Path("tests/apps/flask_app.py").read_bytes()
        assert client.get("/broken").status_code == 500
        assert client.get("/nowhere").status_code == 404
        first = client.get("/ticks/first/events?n=2").text
        assert first.startswith("data: 0 first /ticks/first/events worker\n\n")
        server.wait_for_log(lambda entry: entry.get("hint") == "--stream '/ticks/*/events'")
        second = eventually(lambda: _of_pool(client.get("/ticks/second/events?n=2").text), "it is learned")
        assert second == "".join(f"data: {n} second /ticks/second/events pool\n\n" for n in range(2))
    with Wire(server.host, server.port) as wire:
        wire.send(request("/ticks/left/events"))
        assert wire.head().status == 200
        assert wire.chunk()
    eventually(lambda: "ended /ticks/left/events" in common_record.read_text(), "the context is popped")


def _of_pool(text: str) -> str:
    return text if "pool" in text else ""


def django(tmp_path: Path) -> dict[str, Any]:
    needs("django")
    return {"DJANGO_DB": str(tmp_path / "db.sqlite3")}


def test_django(serve: Serve, tmp_path: Path, record: Path) -> None:
    server = serve("tests.apps.djangosite.wsgi", workers=2, env=django(tmp_path))
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert [client.get("/").json()["visits"] for _ in range(3)] == [1, 2, 3], "sessions"
        upload = os.urandom(50 * MB)
        found = client.post("/upload", files={"file": ("big.bin", upload)})
        assert found.json() == {"size": 50 * MB, "name": "big.bin"}
        assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
        assert client.get("/download").content == (Path(djangosite.__path__[0]) / "urls.py").read_bytes()
        page = client.get("/admin/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token is not None
        login = {"username": "ada", "password": "secret", "csrfmiddlewaretoken": token[1], "next": "/admin/"}
        answer = client.post("/admin/login/", data=login)
        assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")
        assert "Site administration" in client.get("/admin/").text
    with Wire(server.host, server.port) as wire:
        wire.send(request("/ticks/1", "Accept: text/event-stream"))
        assert wire.head().status == 200
        assert wire.chunk() == b"data: 0\n\n"
    eventually(lambda: record.exists() and "ended /ticks/1" in record.read_text(), "it is closed")


REQUESTS = 1000


class Mixed:
    """Clients of pages, event streams and WebSockets, who count what they asked."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._lock = threading.Lock()
        self.sent: list[str] = []
        self.problems: list[str] = []
        self.latest = 0
        self.reloaded = False
        self._threads = [
            threading.Thread(target=self._run, args=(ask,))
            for ask in (self._page, self._page, self._page, self._events, self._websocket)
        ]

    def _next(self, kind: str) -> str | None:
        with self._lock:
            if (len(self.sent) >= REQUESTS and self.reloaded) or self.problems:
                return None
            self.sent.append(f"{kind}-{len(self.sent)}")
            return self.sent[-1]

    def _run(self, ask: Any) -> None:
        try:
            with Wire(self._server.host, self._server.port) as wire:
                while ask(wire):
                    pass
        except (OSError, EOFError, AssertionError, KeyError) as error:
            self.problems.append(f"{ask.__name__}: {error!r}")

    def _page(self, wire: Wire) -> bool:
        if (key := self._next("page")) is None:
            return False
        answer = wire.get(f"/count?key={key}")
        assert (answer.status, answer.json["kind"], answer.json["key"]) == (200, "wsgi", key)
        self.latest = max(self.latest, answer.json["version"])
        return True

    def _events(self, wire: Wire) -> bool:
        if (key := self._next("events")) is None:
            return False
        answer = wire.get(f"/events?key={key}", "Accept: text/event-stream")
        assert answer.status == 200
        assert re.fullmatch(rb"data: 0 (\d)\n\ndata: 1 \1\n\ndata: 2 \1\n\n", answer.body), answer.body
        return True

    def _websocket(self, _: Wire) -> bool:
        if (key := self._next("websocket")) is None:
            return False
        with Wire(self._server.host, self._server.port) as wire:
            wire.send(upgrade(f"/ws?key={key}"))
            assert wire.head().status == 101
            wire.send(masked(1, b"hi"))
            assert wire.exactly(6)[2:5] == b"hi "
        return True

    def __enter__(self) -> "Mixed":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()


def test_django_pages_by_wsgi_and_streams_by_asgi_through_a_reload(
    serve: Serve, tmp_path: Path, record: Path
) -> None:
    version = tmp_path / "version"
    version.write_text("1")
    env = django(tmp_path) | {"VERSION_FILE": str(version)}
    server = serve(
        "tests.apps.djangosite.wsgi",
        pool_app="tests.apps.djangosite.asgi",
        workers=2,
        stream_grace=5.0,
        env=env,
    )
    listening = server.wait_for_log(lambda entry: entry["event"] == "listening")
    assert (listening["interface"], listening["pool_app"]) == ("wsgi", "tests.apps.djangosite.asgi")
    with Mixed(server) as clients:
        eventually(lambda: len(clients.sent) > 100 or clients.problems, "all are at it")
        version.write_text("2")
        try:
            reload(server, wait=True)
        finally:
            clients.reloaded = True
    assert clients.problems == []
    assert clients.latest == 2
    counted = [line.removeprefix("count ") for line in record.read_text().splitlines() if "count" in line]
    assert len(counted) >= REQUESTS
    assert sorted(counted) == sorted(clients.sent), "each once"
    kinds = {key.partition("-")[0] for key in counted}
    assert kinds == {"page", "events", "websocket"}
