"""`hsrv start --reload` on an application whose file is saved again and again."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from hsrv.testing import LiveServer
from tests.integration.browser import browse
from tests.integration.conftest import DEADLINE, Serve, descriptors, is_busy_with, is_stuck, operate
from tests.integration.wire import Wire, eventually, request
from tests.pipe import held_up

SOME_TIME = 1_700_000_000.0

EVENT_STREAM = "Accept: text/event-stream"

APP = """
import asyncio, json
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
{head}
VERSION = "{version}"

@asynccontextmanager
async def lifespan(app):
    {startup}
    yield

async def version(request):
    return JSONResponse(VERSION)

async def slow(request):
    await asyncio.sleep(float(request.query_params["s"]))
    return JSONResponse(VERSION)

def spin(request):
    while True:
        pass

async def page(request):
    return HTMLResponse(f"<html><body><h1>{{VERSION}}</h1></body></html>")

async def sse(request):
    async def events():
        while True:
            yield f"data: {{VERSION}}\\n\\n"
            await asyncio.sleep(0.02)
    return StreamingResponse(events(), media_type="text/event-stream")

async def ws(socket):
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())

routes = [Route(f"/{{name.removeprefix('version')}}", call) for name, call in (
    ("version", version), ("slow", slow), ("spin", spin), ("page", page), ("sse", sse))]
app = Starlette(routes=[*routes, WebSocketRoute("/ws", ws)], lifespan=lifespan)
"""


class Project:
    """A folder with an application that is being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "website.py"
        folder.mkdir()
        self.save("one")

    def save(self, version: str, *, head: str = "", startup: str = "pass") -> None:
        """As editors do: a new file takes the name of the old one."""
        self.write(APP.format(version=version, head=head, startup=startup))

    def write(self, text: str) -> None:
        draft = self.file.with_suffix(".tmp")
        draft.write_text(text)
        draft.rename(self.file)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def develop(serve: Serve, project: Project) -> Callable[..., LiveServer]:
    def start(**options: object) -> LiveServer:
        return serve("website:app", **{"app_dir": project.folder, "reload": True, **options})

    return start


def shows(server: LiveServer, version: str) -> None:
    """The version is served soon, and nothing but 200 and 500 on the way."""
    with Wire(server.host, server.port) as wire:
        eventually(lambda: wire.get("/").body == f'"{version}"'.encode(), f"{version} is served")


def test_a_save_is_served_and_nothing_is_refused_or_reset_meanwhile(
    develop: Callable[..., LiveServer], project: Project
) -> None:
    server = develop()
    with clients(server) as wrong:
        for number in range(3):
            project.save(f"v{number}")
            shows(server, f"v{number}")
    assert wrong == []


@contextmanager
def clients(server: LiveServer) -> Iterator[list[str]]:
    """Two that keep their connection, two that open one per request; yields what went wrong."""
    wrong: list[str] = []
    stop = threading.Event()

    def ask(requests: int) -> None:
        try:
            while not stop.is_set():
                with Wire(server.host, server.port) as wire:
                    for _ in range(requests):
                        stop.wait(0.002)
                        if (status := wire.get("/").status) != 200:
                            wrong.append(str(status))
                        if stop.is_set():
                            return
        except (OSError, EOFError) as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=ask, args=(requests,)) for requests in (1_000_000, 1_000_000, 1, 1)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_save_in_the_same_second_and_of_the_same_size_is_served(serve: Serve, project: Project) -> None:
    """Python would take the bytecode of the first for that of the second."""
    env = {"PYTHONDONTWRITEBYTECODE": ""}
    os.utime(project.file, (SOME_TIME, SOME_TIME))
    server = serve("website:app", app_dir=project.folder, reload=True, env=env)
    shows(server, "one")
    assert list(project.folder.glob("__pycache__/website.*.pyc")), "bytecode is cached"
    draft = project.folder / "draft"
    draft.write_text(APP.format(version="two", head="", startup="pass"))
    os.utime(draft, (SOME_TIME + 0.5, SOME_TIME + 0.5))
    draft.rename(project.file)
    shows(server, "two")


def test_streams_are_told_at_once_and_a_request_finishes_under_the_old_code(
    develop: Callable[..., LiveServer], project: Project
) -> None:
    server = develop()
    with (
        Wire(server.host, server.port) as stream,
        Wire(server.host, server.port) as slow,
        connect(f"{server.ws_url}/ws") as websocket,
    ):
        stream.send(request("/sse", EVENT_STREAM))
        stream.head()
        websocket.send("hello")
        assert websocket.recv(DEADLINE) == "hello"
        slow.send(request("/slow?s=1"))
        project.save("two")
        stream.chunked()  # to its proper end
        with pytest.raises(Exception, match="1012"):
            websocket.recv(DEADLINE)
        shows(server, "two")
        assert slow.response().body == b'"one"'


BROKEN: tuple[tuple[dict[str, str], str], ...] = (
    ({"head": "this is no python"}, "SyntaxError"),
    ({"head": "import nowhere_at_all"}, "nowhere_at_all"),
    ({"startup": "raise LookupError('no database')"}, "no database"),
    ({"head": "import os; os._exit(7)"}, "exited with code 7"),
)


def test_broken_code_is_shown_until_a_save_mends_it(
    develop: Callable[..., LiveServer], project: Project
) -> None:
    server = develop()
    with Wire(server.host, server.port) as wire:
        for change, told in BROKEN:
            project.save("broken", **change)
            eventually(lambda: wire.get("/").status == 500, f"{told} is shown")
            text = wire.get("/")
            assert text.headers["content-type"].startswith("text/plain")
            assert told in text.body.decode()
            page = wire.get("/anything", "Accept: text/html,*/*")
            assert page.headers["content-type"].startswith("text/html")
            assert told in page.body.decode()
            assert "no-store" in page.headers["cache-control"]
            project.save(f"mended {told}")
            shows(server, f"mended {told}")
            assert wire.get("/").body == f'"mended {told}"'.encode()
        project.save("x", head="1 / 0")
        eventually(lambda: wire.get("/").status == 500, "it is shown")
    done = operate(server, "reload")
    assert done.returncode == 1, "the command fails as well"
    assert "ZeroDivisionError" in done.stderr


def test_a_start_with_broken_code_waits_for_the_save_that_mends_it(
    develop: Callable[..., LiveServer], project: Project
) -> None:
    project.save("x", head="import nowhere_at_all")
    server = develop()
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 500
        project.save("mended")
        shows(server, "mended")


def status_of(server: LiveServer) -> int:
    with Wire(server.host, server.port) as wire:
        return wire.get("/").status


def test_two_hundred_saves_settle_on_the_last_and_leave_nothing(
    develop: Callable[..., LiveServer], project: Project
) -> None:
    server = develop()
    project.save("first")
    shows(server, "first")
    before = len(descriptors(server.pid)), len(server.children())
    for number in range(200):
        if number % 3:
            project.save(f"v{number}")
        else:
            project.file.write_text("import nowhere # half")
    project.save("last")
    shows(server, "last")
    eventually(
        lambda: (len(descriptors(server.pid)), len(server.children())) == before,
        "nothing more is there than before",
    )


def test_a_library_that_changes_is_imported_anew(
    develop: Callable[..., LiveServer], project: Project, tmp_path: Path
) -> None:
    libraries = tmp_path / "site-packages"
    libraries.mkdir()
    (libraries / "shelf.py").write_text("BOOK = 'one'\n")
    project.write(
        "import shelf\n" + APP.format(version="{0}", head="", startup="pass").replace('"{0}"', "shelf.BOOK")
    )
    server = develop(env={"PYTHONPATH": str(libraries)})
    shows(server, "one")
    template = server.children("template")[0].pid
    project.file.touch()
    eventually(lambda: any(child.generation > 1 for child in server.children("worker")), "it is loaded anew")
    assert server.children("template")[0].pid == template, "on the same libraries"
    (libraries / "shelf.py").write_text("BOOK = 'another'\n")
    shows(server, "another")
    assert template not in {child.pid for child in server.children("template")}


@contextmanager
def everything_open(server: LiveServer) -> Iterator[None]:
    """A stream, a WebSocket, a request that takes its time, and one that never ends."""
    with (
        Wire(server.host, server.port) as stream,
        Wire(server.host, server.port) as slow,
        Wire(server.host, server.port) as stuck,
        connect(f"{server.ws_url}/ws") as websocket,
    ):
        stream.send(request("/sse", EVENT_STREAM))
        stream.until(b"\n\n")
        websocket.send("hello")
        websocket.recv(DEADLINE)
        slow.send(request("/slow?s=60"))
        stuck.send(request("/spin"))
        eventually(lambda: is_busy_with(server, "/slow") or is_stuck(server), "they run")
        yield


def test_ctrl_c_ends_it_at_once_whatever_is_open(develop: Callable[..., LiveServer]) -> None:
    server = develop(workers=2)
    with everything_open(server):
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        server.process.wait(DEADLINE)
    took = time.monotonic() - began
    assert took < 10, "far from the budgets of production; about a second on a machine that is not busy"
    assert "supervisor died" not in server.output


def test_files_that_do_not_count_start_nothing(develop: Callable[..., LiveServer], project: Project) -> None:
    server = develop(reload_include=["*.html"], reload_exclude=["generated/"])
    (project.folder / "notes.txt").write_text("x")
    (project.folder / "generated").mkdir()
    (project.folder / "generated" / "made.py").write_text("x = 1\n")
    (project.folder / "data.sqlite3-journal").write_text("x")
    (project.folder / "page.html").write_text("x")
    changed = server.wait_for_log(lambda entry: entry["event"] == "files changed")
    assert changed["files"] == [str(project.folder / "page.html")]


# what is saved while nobody watches


def test_a_save_before_the_first_look_is_served(develop: Callable[..., LiveServer], project: Project) -> None:
    """A look reads .gitignore: as a pipe it holds the look up, after the application has been imported."""
    with held_up(project.folder / ".gitignore") as begun:
        server = develop()
        eventually(begun, "the first look has begun")
        shows(server, "one")
        project.save("two")
        os.utime(project.file, (SOME_TIME, SOME_TIME))  # not by its time of writing that it is seen
    shows(server, "two")


def test_a_save_before_it_is_known_that_the_file_counts_is_served(
    serve: Serve, project: Project, tmp_path: Path
) -> None:
    """What lies outside of the application's folder counts once it has been imported. Here it is saved in between."""
    shared = tmp_path / "shared" / "shared.py"
    shared.parent.mkdir()
    shared.write_text("VERSION = 'one'\n")
    source = APP.format(version="{0}", head="import shared, pathlib", startup="saved()").replace(
        '"{0}"', "shared.VERSION"
    )
    saved = """
def saved():
    if VERSION == "one":
        pathlib.Path(shared.__file__).write_text("VERSION = 'two'\\n")
"""
    project.write(source + saved)
    server = serve("website:app", app_dir=project.folder, reload=True, env={"PYTHONPATH": str(shared.parent)})
    shows(server, "two")


# the browser


def test_pages_get_the_script_and_other_answers_stay_as_they_are(develop: Callable[..., LiveServer]) -> None:
    server = develop(reload_browser=True)
    with Wire(server.host, server.port) as wire:
        page = wire.get("/page").body
        assert page.startswith(b"<html><body><h1>one</h1><script>")
        assert page.endswith(b"</script></body></html>")
        assert wire.get("/").body == b'"one"'
        told = Wire(server.host, server.port)
        told.send(request("/__hsrv__/reload", EVENT_STREAM))
        assert b"data: 1" in told.until(b"\n\n")
        told.sock.close()


def test_a_browser_leaves_the_page_of_broken_code_once_it_is_mended(
    develop: Callable[..., LiveServer], project: Project, tmp_path: Path
) -> None:
    project.save("x", head="import nowhere_at_all")
    server = develop()
    with browse(f"{server.url}/page", tmp_path) as page:
        eventually(lambda: "nowhere_at_all" in page.text, "the failure is shown")
        project.save("x", head="1 / 0")
        eventually(lambda: "ZeroDivisionError" in page.text, "the next failure is shown")
        project.save("mended")
        eventually(lambda: page.text.strip() == "mended", "the page is shown")


def test_a_browser_shows_new_code_by_itself(
    develop: Callable[..., LiveServer], project: Project, tmp_path: Path
) -> None:
    server = develop(reload_browser=True)
    with browse(f"{server.url}/page", tmp_path) as page:
        for version in ("one", "two", "three"):
            project.save(version)
            eventually(lambda: page.text.strip() == version, f"{version} is shown")  # noqa: B023  # called at once


# configuration


def test_a_reload_reads_the_configuration_again(serve: Serve, tmp_path: Path) -> None:
    config = tmp_path / "hsrv.toml"
    config.write_text("workers = 1\nlog_level = 'info'\n")
    server = serve(config=config)
    assert len(server.children("worker")) == 1
    config.write_text("workers = 2\npools = 2\nkeep_alive = 0.5\nmax_draining = 2\nbacklog = 5\n")
    assert operate(server, "reload", "--wait").returncode == 0
    eventually(lambda: len(server.children("worker")) == len(server.children("pool")) == 2, "two of each")
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 200
        began = time.monotonic()
        assert wire.ended()
        assert time.monotonic() - began < 10, "not the 75 s of before"
    warned = server.wait_for_log(lambda entry: entry["event"] == "not changed by a reload")
    assert warned["option"] == "backlog"
    config.write_text("workers = 'many'\n")
    done = operate(server, "reload")
    assert done.returncode == 1
    assert "workers" in done.stderr
    assert status_of(server) == 200
    assert psutil.pid_exists(server.pid)
