"""The dashboard in a real browser, and what stands behind it."""

import http.client
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hsrv.testing import LiveServer
from tests.conftest import SCREENSHOTS
from tests.integration.browser import Page, browse
from tests.integration.conftest import DEADLINE, ROOT, Serve
from tests.integration.wire import Wire, eventually, request

TOKEN = "correct-horse.battery"
PROMPT = 2.0
"""Seconds within which a person is to see what happened. On a machine that is busy it may take longer."""


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer(
        "tests.apps.raw:app", cwd=ROOT, workers=2, graceful_timeout=1, stream_grace=1, admin="127.0.0.1:0"
    ) as one:
        yield one


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go, for people to look at."""
    folder = Path(SCREENSHOTS or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def ask(
    server: LiveServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.admin_urls[0]).netloc, timeout=DEADLINE)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(
            method, path, data, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, whole(answer)
    finally:
        connection.close()


def whole(answer: http.client.HTTPResponse) -> bytes:
    """What never ends is a failure and no hang."""
    end, data = time.monotonic() + DEADLINE, b""
    while more := answer.read1(65536):
        data += more
        assert time.monotonic() < end, data[:200]
    return data


@contextmanager
def watching(server: LiveServer, folder: Path) -> Iterator[Page]:
    with browse("about:blank", folder) as page:
        page.show_as(1280, 800)
        page.open(server.admin_urls[0])
        yield page


def row(page: Page, name: str) -> dict[str, str]:
    """What stands in the row of a process that is not gone: pid and state; empty when there is none."""
    cells: dict[str, str] = page.evaluate(
        f"""(() => {{
          for (const row of document.querySelectorAll("#processes tr:not(.below):not(.gone)"))
            if (row.cells[0].textContent === {name!r})
              return {{generation: row.cells[1].innerText, pid: row.cells[2].innerText, state: row.cells[3].innerText}};
          return {{}};
        }})()"""
    )
    return cells


def text_of(page: Page, element: str) -> str:
    return str(page.evaluate(f"document.getElementById({element!r}).innerText"))


def seen(what: str, condition: Callable[[], Any]) -> None:
    """Wait for it, and say how long it took from now on."""
    began = time.monotonic()
    eventually(condition, what)
    seconds = time.monotonic() - began
    slow = "" if seconds < PROMPT else ": SLOW"
    print(f"dashboard: {what} after {seconds:.2f} s{slow}")  # noqa: T201  # measured, for people


def is_fine(page: Page, server: LiveServer) -> None:
    assert page.errors == []
    elsewhere = {url for url in page.requested if not url.startswith((f"{server.admin_urls[0]}/", "data:,"))}
    assert not elsewhere


def test_the_page_shows_a_death_a_replacement_a_stream_and_a_reload(
    server: LiveServer, tmp_path: Path, shots: Path
) -> None:
    with watching(server, tmp_path) as page, Wire(server.host, server.port) as stream:
        seen("the page is filled", lambda: row(page, "worker-2").get("state") == "serving")
        assert "tests.apps.raw:app" in page.text
        assert not page.evaluate("document.getElementById('actions').checkVisibility()"), "nothing to press"

        stream.send(request("/sse/a-room", "Accept: text/event-stream"))
        stream.until(b"\n\n")
        seen(
            "a stream is shown",
            lambda: "/sse/a-room" in text_of(page, "streams"),
        )
        eventually(
            lambda: (
                page.evaluate("document.querySelector('[data-role=pool] [data-name=Streams]').textContent")
                == "1"
            ),
            "it is counted",
        )

        dead = next(child.pid for child in server.children("worker") if child.slot == 1)
        assert row(page, "worker-1")["pid"] == str(dead)
        os.kill(dead, signal.SIGKILL)
        seen(
            "a death is shown",
            lambda: page.evaluate(f"!!document.querySelector('tr.gone[data-pid=\"{dead}\"]')"),
        )
        seen("it is an event", lambda: "process died" in page.text)
        seen(
            "a replacement is shown",
            lambda: (
                row(page, "worker-1").get("state") == "serving" and row(page, "worker-1")["pid"] != str(dead)
            ),
        )

        with Wire(server.host, server.port) as busy:
            busy.send(request("/sleep?s=3"))
            seen("what runs is shown", lambda: re.search(r"GET /sleep for \d", page.text))
            pictures(page, shots)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda entry: entry["event"] == "reloaded")
        seen(
            "a reload is shown",
            lambda: re.search(r"worker-2\s+2\s+\d+\s+serving", text_of(page, "processes")),
        )
        assert "reloading" in page.text
        is_fine(page, server)


def pictures(page: Page, folder: Path) -> None:
    """For people. And at the width of a phone nothing sticks out."""
    for name, width, dark in (("light", 1280, False), ("dark", 1280, True), ("phone", 360, False)):
        page.show_as(width, 800, dark=dark)
        eventually(lambda: page.evaluate("innerWidth") == width, "it is resized")  # noqa: B023  # called at once
        assert page.evaluate("document.documentElement.scrollWidth") == width
        overflowing = page.evaluate(
            "[...document.querySelectorAll('section')].filter(one => one.scrollWidth > one.clientWidth).length"
        )
        assert overflowing == 0, name
        page.screenshot(folder / f"dashboard-{name}.png")
    page.show_as(1280, 800)


def test_with_a_token_the_page_asks_for_it_and_can_change_things(
    serve: Serve, tmp_path: Path, shots: Path
) -> None:
    server = serve(workers=1, graceful_timeout=1, admin="127.0.0.1:0", admin_token=TOKEN, admin_write=True)
    with watching(server, tmp_path) as page:
        eventually(lambda: "wants a token" in page.text, "it asks")
        assert "worker-1" not in page.text
        is_fine(page, server)
        enter(page, "wrong")
        eventually(lambda: "not the token" in page.text, "a wrong one is said to be")
        enter(page, TOKEN)
        eventually(lambda: row(page, "worker-1").get("state") == "serving", "the page is filled")
        page.screenshot(shots / "dashboard-write.png")
        press(page, "more")
        eventually(lambda: "2 workers (before: 1)" in page.text, "its answer is shown")
        seen("another worker is shown", lambda: row(page, "worker-2").get("state") == "serving")
        press(page, "stacks")
        eventually(lambda: "=== worker-1 of generation 1" in page.text, "stacks are shown")
        page.evaluate("document.querySelector('#dialog button').click()")
        press(page, "reload")
        eventually(lambda: "Generation 2 serves" in page.text, "the reload's end is told")
        assert page.evaluate("document.cookie") == ""
        [refused] = page.errors
        assert "401" in refused, "the wrong token"


def enter(page: Page, token: str) -> None:
    page.evaluate(f"document.getElementById('token').value = {token!r}")
    page.evaluate("document.querySelector('#form button').click()")


def press(page: Page, button: str) -> None:
    page.evaluate(f"document.getElementById('{button}').click()")


def test_a_server_that_comes_back_is_shown_again(serve: Serve, tmp_path: Path) -> None:
    first = serve(workers=1, admin="127.0.0.1:0")
    port = urlsplit(first.admin_urls[0]).port
    with watching(first, tmp_path) as page:
        eventually(lambda: row(page, "worker-1").get("state") == "serving", "it is shown")
        first.stop()
        eventually(lambda: "last heard" in page.text, "its end is said")
        serve(workers=2, admin=f"127.0.0.1:{port}")
        eventually(lambda: row(page, "worker-2").get("state") == "serving", "the next one is shown")
        eventually(lambda: text_of(page, "events").count("process ready") == 3, "its events, and no others")


# without a browser


def test_the_page_holds_no_data_and_everything_else_wants_the_token(serve: Serve) -> None:
    server = serve(workers=1, admin="127.0.0.1:0", admin_token=TOKEN, admin_write=True)
    status, headers, body = ask(server, "GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"raw:app" not in body
    assert TOKEN.encode() not in body
    for method, path in (("GET", "/events"), ("POST", "/reload"), ("POST", "/scale"), ("POST", "/stacks")):
        assert ask(server, method, path)[0] == 401
        assert ask(server, method, path, authorization="Bearer nope")[0] == 401
        assert ask(server, method, path, cookie=f"token={TOKEN}")[0] == 401
    mine = {"authorization": f"Bearer {TOKEN}"}
    assert ask(server, "POST", "/scale", {"step": 1}, origin="http://evil.example", **mine)[0] == 403
    assert ask(server, "GET", "/scale", **mine)[0] == 405
    assert ask(server, "POST", "/scale", {"step": "many"}, **mine)[0] == 400
    assert ask(server, "POST", "/scale", [1], **mine)[0] == 400
    status, _, body = ask(server, "POST", "/scale", {"workers": 0}, **mine)
    assert (status, json.loads(body)["error"]) == (409, "one worker is the least")
    status, _, body = ask(server, "POST", "/scale", {"workers": 2}, **mine)
    assert (status, json.loads(body)) == (200, {"before": 1, "workers": 2})
    status, _, body = ask(server, "POST", "/stacks", {"target": "nobody"}, **mine)
    assert (status, "no process" in json.loads(body)["error"]) == (409, True)
    assert TOKEN not in server.output


def test_without_admin_write_nothing_can_be_changed(server: LiveServer) -> None:
    for path in ("/reload", "/scale", "/stacks"):
        assert ask(server, "POST", path, {})[0] == 403
    assert [entry for entry in server.logs if entry["event"] == "asked by HTTP"] == []


def test_a_reload_that_fails_is_answered_with_its_traceback(serve: Serve, tmp_path: Path) -> None:
    code = tmp_path / "fragile_page.py"
    code.write_text("async def app(scope, receive, send): raise RuntimeError\n")
    server = serve(
        "fragile_page:app",
        app_dir=tmp_path,
        workers=1,
        admin="127.0.0.1:0",
        admin_token=TOKEN,
        admin_write=True,
    )
    code.write_text("1 / 0\n")
    status, _, body = ask(server, "POST", "/reload", {}, authorization=f"Bearer {TOKEN}")
    assert status == 500
    assert "ZeroDivisionError" in json.loads(body)["traceback"]
    assert ask(server, "GET", "/readyz")[0] == 200
