"""Who holds what: descriptors, socket files, and what must not get into a log."""

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import psutil
import pytest

from hsrv.common.terms import Role
from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.testing import Child, LiveServer
from tests.conftest import LONG
from tests.integration.conftest import DEADLINE, ROOT, Serve, command_line, descriptors, pids
from tests.integration.wire import Wire, eventually, masked, request, upgrade

EVENT_STREAM = "Accept: text/event-stream"
COMBINED = [
    ("asyncio", "none"),
    ("uvloop", "app"),
    *([("asyncio", "app"), ("uvloop", "none")] if LONG else []),
]
"""Loops and policies of preloading. Neither asks for the other, so each is in one; all pairs with HSRV_TEST_LONG=1."""

# descriptors


def sockets(pid: int) -> set[str]:
    return {name for name in descriptors(pid) if name.startswith("socket:")}


def listening(server: LiveServer) -> set[str]:
    """The listening sockets of the server but the operator's: those that its workers have."""
    inodes = {
        f"socket:[{line.split()[6]}]"
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]
        if int(line.split()[3], 16) & 0x10000 and not line.endswith(f"/{server.pid}.sock")
    }
    for number in pids(server, "worker"):
        for one in psutil.Process(number).net_connections(kind="tcp"):
            if one.status == psutil.CONN_LISTEN:
                inodes.add(str(Path(f"/proc/{number}/fd/{one.fd}").readlink()))
    return inodes & sockets(server.pid)


def operators(server: LiveServer) -> str:
    lines = Path("/proc/net/unix").read_text().splitlines()
    line = next(line for line in lines if line.endswith(f"/{server.pid}.sock"))
    return f"socket:[{line.split()[6]}]"


def files(pid: int) -> set[tuple[int, int]]:
    """Device and number of what the process holds beyond 0, 1 and 2, and where these lead: memfds and pipes too."""
    found: set[tuple[int, int]] = set()
    usual: set[tuple[int, int]] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if not str(entry.readlink()).startswith("anon_inode:"):
            info = entry.stat()
            (found if int(entry.name) > 2 else usual).add((info.st_dev, info.st_ino))
    return found - usual


def check_descriptors(server: LiveServer, listeners: int) -> None:
    children = server.children()
    [template] = [child for child in children if child.role is Role.TEMPLATE]
    workers = [child for child in children if child.role is Role.WORKER]
    pools = [child for child in children if child.role is Role.POOL]
    assert workers
    assert pools
    doors = listening(server)
    assert len(doors) == listeners
    channels = (sockets(server.pid) & sockets(template.pid)) - doors
    assert len(channels) == 4, "both ends of handoff and adopt"

    assert sockets(template.pid) - doors - channels, "its own channel"
    assert len(sockets(template.pid)) == listeners + 4 + 1
    shown = [name for name in descriptors(template.pid) if "memfd" in name]
    assert shown == ["/memfd:hsrv-leadership (deleted)"]

    for worker in workers:
        assert sockets(worker.pid) >= doors | channels
    for pool in pools:
        assert sockets(pool.pid) >= doors, "it accepts what no worker accepts"
        assert len(sockets(pool.pid) & channels) == 3, "where it receives handoffs, and both ends of adopt"

    assert operators(server) in sockets(server.pid)
    for child in children:
        assert operators(server) not in sockets(child.pid)
        assert not (sockets(child.pid) & sockets(server.pid)) - doors - channels, (
            "nothing of the supervisor's"
        )
    for one, other in combinations(children, 2):
        assert not (sockets(one.pid) & sockets(other.pid)) - doors - channels, (
            "no control channel but its own"
        )
        shared = files(one.pid) & files(other.pid)
        assert len(shared) == len(sockets(one.pid) & sockets(other.pid)) + 1, (
            "no pipe, no file of another's stacks, but that of the leadership"
        )
    for child in [*workers, *pools]:
        memory = {name for name in descriptors(child.pid) if "memfd" in name}
        own = {f"/memfd:hsrv-{name} (deleted)" for name in ("stacks", "scoreboard")}
        assert memory == own | {"/memfd:hsrv-leadership (deleted)"}, "and one that all share"


@pytest.mark.parametrize(("loop", "preload"), COMBINED)
def test_each_process_holds_its_own_and_what_is_shared(
    serve: Serve, tmp_path: Path, loop: str, preload: str
) -> None:
    binds = ["127.0.0.1:0", f"unix:{tmp_path / 'app.sock'}"]
    server = serve(workers=3, pools=2, loop=loop, preload=preload, bind=binds)
    check_descriptors(server, 2)
    before = server.children()
    killed = [next(child for child in before if child.role is role) for role in (Role.WORKER, Role.POOL)]
    for child in killed:
        os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: replaced(server, before, killed), "the dead are replaced")
    check_descriptors(server, 2)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(lambda entry: entry["event"] == "reloaded")
    eventually(lambda: {child.generation for child in server.children()} == {2}, "the old ones are gone")
    check_descriptors(server, 2)


def replaced(server: LiveServer, before: list[Child], killed: list[Child]) -> bool:
    """As many as before, none of the killed, and each ready."""
    living = {child.pid for child in server.children()}
    ready = {entry["pid"] for entry in server.logs if entry["event"] == "ready"}
    children = {child.pid for child in server.children() if child.role is not Role.TEMPLATE}
    return len(living) == len(before) and not living & {child.pid for child in killed} and children <= ready


@pytest.mark.parametrize(("loop", "preload"), COMBINED)
def test_a_program_that_the_application_starts_inherits_three_descriptors(
    serve: Serve, tmp_path: Path, loop: str, preload: str
) -> None:
    binds = ["127.0.0.1:0", f"unix:{tmp_path / 'app.sock'}"]
    server = serve("tests.apps.isolation:app", loop=loop, preload=preload, bind=binds)
    with Wire(server.host, server.port) as idle, Wire(server.host, server.port) as wire:
        idle.send(b"GET / HTTP/1.1\r\n")
        for field, role in (("Accept: */*", "worker"), (EVENT_STREAM, "pool")):
            found = wire.get("/", field).json
            assert found["role"] == role
            for when in ("imported", "now"):
                for way, listed in found[when].items():
                    assert [fd for fd, _ in listed] == [0, 1, 2], (role, when, way, listed)


def test_no_socket_file_is_open_to_everybody(serve: Serve, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        server = serve(bind=["127.0.0.1:0", f"unix:{tmp_path / 'app.sock'}"], run_dir=str(tmp_path / "run"))
    finally:
        os.umask(mask)
    mine = {name for pid in everyone(server) for name in sockets(pid)}
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    paths = {Path(line[7]) for line in lines if len(line) > 7 and f"socket:[{line[6]}]" in mine}
    assert paths == {tmp_path / "app.sock", tmp_path / "run" / f"{server.pid}.sock"}
    for path in paths:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o007, path
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "run" / f"{server.pid}.sock").stat().st_mode) == 0o600


def everyone(server: LiveServer) -> list[int]:
    return [server.pid, *(child.pid for child in server.children())]


# logs

SECRET = "S3CR3T"
FIELDS = [
    f"Authorization: Bearer {SECRET}-authorization",
    f"Cookie: session={SECRET}-cookie",
    f"Proxy-Authorization: Basic {SECRET}-proxy",
]
QUERY = f"{SECRET}-query"
REFERER = f"Referer: https://example.org/search?q={SECRET}-referer"


@dataclass
class Place:
    """What is needed of a server to reach it."""

    host: str
    port: int
    run_dir: str


def everything_that_is_logged(server: LiveServer | Place) -> None:
    """Requests that end in each of the ways about which the server says something."""

    def on_a_connection(*parts: bytes, then: Callable[[Wire], object] = Wire.rest) -> None:
        with Wire(server.host, server.port) as wire:
            for part in parts:
                wire.send(part)
            then(wire)

    def cut(wire: Wire) -> None:
        with contextlib.suppress(ConnectionError):
            wire.rest()

    def answered(wire: Wire) -> None:
        wire.response()

    def begun(wire: Wire) -> None:
        wire.head()

    for path in ("/", "/fail", "/silent", "/nowhere", "/count", "/hint", "/scope"):
        on_a_connection(request(f"{path}?{QUERY}", *FIELDS, REFERER), then=answered)
    on_a_connection(request(f"/fail-late?{QUERY}", *FIELDS, REFERER), then=cut)
    on_a_connection(request(f"/sse?{QUERY}&n=3", *FIELDS, REFERER, EVENT_STREAM), then=answered)
    on_a_connection(request(f"/sse?{QUERY}", *FIELDS, REFERER, EVENT_STREAM), then=begun)
    on_a_connection(request(f"/sse?{QUERY}&plain", *FIELDS, REFERER), then=begun)
    on_a_connection(upgrade(f"/ws?{QUERY}", *FIELDS, REFERER), then=begun)
    on_a_connection(upgrade(f"/ws?{QUERY}"), masked(1, b"close"), then=Wire.rest)
    on_a_connection(upgrade(f"/deny?{QUERY}"), then=answered)
    on_a_connection(upgrade(f"/ws?{QUERY}").replace(b"Version: 13", b"Version: 12"), then=answered)
    # refused: malformed, too long, too slow
    on_a_connection(request(f"/?{QUERY}", *FIELDS, "Bad header: x"), then=answered)
    on_a_connection(f"GET /?{QUERY} HTTP/9.9\r\n".encode() + b"\r\n", then=answered)
    on_a_connection(f"GET /?{QUERY}{'x' * 9000} HTTP/1.1\r\n".encode(), then=answered)
    on_a_connection(request(f"/?{QUERY}", *FIELDS, f"X: {'x' * 70_000}"), then=answered)
    on_a_connection(
        request(f"/echo?{QUERY}", *FIELDS, "Transfer-Encoding: chunked", method="POST") + b"zz\r\n"
    )
    on_a_connection(f"GET /?{QUERY} HTTP/1.1\r\n{FIELDS[0]}\r\n".encode(), then=answered)
    # asked by the operator
    operators_socket = find(Target(server.run_dir))
    assert ask(operators_socket, operator.STATUS, operator.StatusParams()).ready
    assert ask(operators_socket, operator.STACKS, operator.StacksParams()).processes


TEXT = '%(h)s %(t)s "%(r)s" %(m)s %(U)s %(q)s %(s)s %(b)s "%(f)s" "%(a)s" %({referer}i)s %({x-request-id}i)s'


@pytest.mark.parametrize(
    ("query", "text"),
    [(True, TEXT), (False, None), *([(True, None), (False, TEXT)] if LONG else [])],
    ids=str,
)
def test_secrets_are_in_no_line(serve: Serve, query: bool, text: str | None) -> None:
    server = serve(
        log_level="debug",
        log_query=query,
        access_log_format=text,
        header_timeout=0.5,
        stream_after=0.5,
        body_timeout=1,
    )
    everything_that_is_logged(server)
    assert server.stop() == 0
    found = {line for line in server.output.splitlines() if SECRET in line}
    assert "application raised" in server.output
    if not query:
        assert not found
        return
    assert found, "the access log has the queries"
    for line in found:
        assert "hsrv.access" in line or text is not None
        for field in ("authorization", "cookie", "proxy"):
            assert f"{SECRET}-{field}" not in line


def test_secrets_are_in_no_line_for_people(tmp_path: Path) -> None:
    """--log-format console, which `LiveServer` can't read."""
    options = ["--log-format", "console", "--log-level", "debug", "--no-log-query", "--header-timeout", "0.5"]
    said = tmp_path / "stderr"
    with said.open("w") as stderr:
        command = [sys.executable, "-m", "hsrv", "start", "tests.apps.raw:app", "--bind", "127.0.0.1:0"]
        process = subprocess.Popen(
            [*command, *options, "--run-dir", str(tmp_path)],
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
        )
    try:
        found = eventually(
            lambda: re.search(r"http://(127\.0\.0\.1):(\d+)(?s:.*)Ctrl-C", said.read_text()), "it serves"
        )
        everything_that_is_logged(Place(found[1], int(found[2]), str(tmp_path)))
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        finally:
            process.kill()  # if it didn't end
    assert process.returncode == 0
    assert "application raised" in said.read_text()
    assert SECRET not in said.read_text()


def test_a_header_with_secrets_can_not_be_asked_for() -> None:
    for name in ("Authorization", "cookie", "PROXY-AUTHORIZATION"):
        done = command_line("start", "tests.apps.raw:app", "--access-log-format", f"%({{{name}}}i)s")
        assert done.returncode == 2
        assert "never logged" in done.stderr


FORGED = "10.0.0.1 [forged] "


@pytest.mark.parametrize("text", [None, TEXT], ids=["json", "text"])
def test_no_line_can_be_forged(serve: Serve, text: str | None) -> None:
    """Control characters come where the grammar lets them: percent-encoded, tabs, bytes above 0x7f, quotes."""
    server = serve(log_level="debug", access_log_format=text)
    nasty = f'"}}\t\x85\x9b31m\x9d \\" {FORGED}'.encode("latin-1")
    targets = ["/fail%0A%0D%1B%5B31m%C2%85%E2%80%A8%E2%80%AE?a=%0a%22", '/nowhere"}%00?"}']
    for target in targets:
        with Wire(server.host, server.port) as wire:
            wire.send(request(target)[:-2] + b"User-Agent: " + nasty + b"\r\nReferer: " + nasty + b"\r\n\r\n")
            assert wire.response().status in (404, 500)
    for control in (b"\n", b"\r", b"\0", b"\x1b", b"\x7f", b"\r\n" + FORGED.encode()):
        with Wire(server.host, server.port) as wire:
            wire.send(request("/")[:-2] + b"User-Agent: a" + control + b"b\r\n\r\n")
            assert wire.response().status == 400
    assert server.stop() == 0
    assert not [char for char in server.output if char != "\n" and not char.isprintable()]
    assert not [line for line in server.output.splitlines() if line.startswith((FORGED, '"}'))]
    plain = [entry for entry in server.logs if "text" in entry]
    assert len(plain) == (0 if text is None else 2), plain


REQUEST_IDS: list[tuple[str, bool]] = [
    ("abc-DEF.1", True),
    ("x" * 128, True),
    ("x" * 129, False),
    ("a b", False),
    ('a"b', False),
    ("$(reboot)", False),
    ("<script>", False),
    ("a\\nb", False),
    ("\u00e9\u0085", False),
]


def test_only_a_proper_request_id_is_taken_over(serve: Serve) -> None:
    server = serve(log_level="debug")
    for value, _ in REQUEST_IDS:
        with Wire(server.host, server.port) as wire:
            wire.send(request("/fail")[:-2] + f"X-Request-ID: {value}\r\n\r\n".encode("latin-1"))
            answer = wire.response()
            assert value not in repr(answer.headers)
    assert server.stop() == 0
    lines: list[dict[str, Any]] = [entry for entry in server.logs if "request_id" in entry]
    used = {entry["request_id"] for entry in lines}
    for value, proper in REQUEST_IDS:
        assert (value in used) is proper, value
        assert len([line for line in server.output.splitlines() if f'"{value}"' in line]) == (
            2 if proper else 0
        )
