"""The demo application on the real server: each answer names who gave it, and ticks don't stall."""

import http.client
import itertools
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
import websockets.sync.client

from hsrv.testing import LiveServer

pytestmark = pytest.mark.integration
WORKERS = 2


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("hsrv.demo:app", workers=WORKERS) as server:
        yield server


def assert_named(answer: dict[str, Any], role: str, server: LiveServer) -> None:
    (child,) = [child for child in server.children(role) if child.pid == answer["pid"]]
    assert answer["role"] == role
    assert (answer["slot"], answer["generation"]) == (child.slot, child.generation)
    assert answer["leader"] is ((child.role, child.slot) == ("worker", 1))


class Links(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.external: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.external += [
            f"{tag} {value}"
            for name, value in attrs
            if name in ("src", "href") and not (value or "").startswith("data:")
        ]


def test_the_page_needs_nothing_from_elsewhere_and_uses_every_route(server: LiveServer) -> None:
    answer = httpx.get(server.url)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    links = Links()
    links.feed(answer.text)
    assert not links.external
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    for path in ("/ticks", "/burn?seconds=2", "/echo", "/form"):
        assert path in answer.text


def test_short_requests_are_answered_by_named_workers(server: LiveServer) -> None:
    assert httpx.get(f"{server.url}/hello").text == "Hello from hsrv\n"
    assert_named(httpx.get(f"{server.url}/who").json(), "worker", server)
    burnt = httpx.get(f"{server.url}/burn?seconds=0.05").json()
    assert burnt["burnt"] == 0.05
    assert burnt["rounds"] > 0
    assert_named(burnt, "worker", server)
    posted = httpx.post(f"{server.url}/form", data={"name": "<Zoë>"}).json()
    assert posted["received"] == {"name": "<Zoë>"}
    assert_named(posted, "worker", server)


def test_wrong_requests_are_told_so(server: LiveServer) -> None:
    assert httpx.get(f"{server.url}/nowhere").status_code == 404
    refused = httpx.get(f"{server.url}/form")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert httpx.get(f"{server.url}/burn?seconds=long").status_code == 400
    assert httpx.post(f"{server.url}/form", content=b"x" * 70_000).status_code == 413


def test_a_head_request_for_the_ticks_ends(server: LiveServer) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    for path, kind in (("/ticks", "text/event-stream"), ("/hello", "text/plain; charset=utf-8")):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert answer.headers["content-type"] == kind
        answer.read()
    connection.close()


def ticks(server: LiveServer) -> Iterator[dict[str, Any]]:
    headers = {"accept": "text/event-stream"}
    with httpx.stream("GET", f"{server.url}/ticks", headers=headers, timeout=20) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def test_ticks_come_from_the_pool_in_order(server: LiveServer) -> None:
    stream = ticks(server)
    found = list(itertools.islice(stream, 3))
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert_named(found[0], "pool", server)
    assert [tick["n"] for tick in found] == [0, 1, 2]
    assert {tick["pid"] for tick in found} == {found[0]["pid"]}
    assert all(tick["late"] >= 0 for tick in found)


def test_the_websocket_echoes_from_the_pool(server: LiveServer) -> None:
    with websockets.sync.client.connect(f"{server.ws_url}/echo") as socket:
        socket.send("hello")
        answer = json.loads(socket.recv(timeout=10))
    assert answer["echo"] == "hello"
    assert_named(answer, "pool", server)


def test_a_websocket_elsewhere_is_refused(server: LiveServer) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        websockets.sync.client.connect(f"{server.ws_url}/nowhere")
