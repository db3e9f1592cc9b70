"""Clients that leave: their streams end at once, in the pool and in a worker, whatever framework, in whichever way."""

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

import pytest

from hsrv.rpc.methods import ChildReport, Running
from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.integration.conftest import Serve, status_of
from tests.integration.wire import Wire, eventually, request

SOON = 2.0
"""Seconds within which a generator must end: one, and another for a machine that does other things as well."""

TALKING = 0.05
SILENT = 0

ROLES = ("pool", "worker")
FRAMEWORKS = ("raw", "starlette", "plain", "fastapi", "sse-starlette", "django", "litestar", "litestar-sse")

keys = count()


def fin(sock: socket.socket) -> None:
    sock.close()


def rst(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


WAYS: tuple[Callable[[socket.socket], None], ...] = (fin, rst, half_close)


def start(serve: Serve, preload: str = "app") -> LiveServer:
    return serve(
        "tests.apps.leaving:app", workers=1, preload=preload, stream="/*/pool", no_stream="/*/worker"
    )


@pytest.fixture
def server(common: Serve) -> LiveServer:
    return start(common)


def target(name: str, role: str, **query: object) -> tuple[str, str]:
    """A key of its own, and what to ask for."""
    key = f"{name}-{role}-{next(keys)}"
    return key, f"/{name}/{role}?{urlencode({'key': key, **query})}"


@contextmanager
def leaving(server: LiveServer, name: str, role: str) -> Iterator[list[str]]:
    """Clients of silent and of talking streams that left after the first event, in each way; the keys."""
    left = []
    with ExitStack() as stack:
        for every in (SILENT, TALKING):
            for leave in WAYS:
                wire = stack.enter_context(Wire(server.host, server.port))
                key, path = target(name, role, every=every)
                wire.send(request(path))
                assert wire.head().status == 200
                wire.until(b"event")
                leave(wire.sock)
                left.append(key)
        yield left


def ended(record: Path, expected: list[str]) -> bool:
    return set(recorded(record)) >= {f"ended {key}" for key in expected}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_stream_ends_when_its_client_leaves(
    server: LiveServer, common_record: Path, name: str, role: str
) -> None:
    with leaving(server, name, role) as left:
        eventually(lambda: ended(common_record, left), f"all of {left} end", SOON)


def test_a_stream_ends_when_its_client_leaves_also_where_each_process_imports_for_itself(
    serve: Serve, record: Path
) -> None:
    server = start(serve, preload="none")
    with ExitStack() as stack:
        left = [
            key
            for name in FRAMEWORKS
            for role in ROLES
            for key in stack.enter_context(leaving(server, name, role))
        ]
        eventually(lambda: ended(record, left), f"all of {left} end", SOON)


# MCP


def calls(server: LiveServer) -> int:
    """Application calls that run, by what the server says."""
    return sum(report.running for report in reports(server))


class McpClient:
    """One session (https://modelcontextprotocol.io, revision 2025-06-18)."""

    def __init__(self, server: LiveServer, role: str) -> None:
        self.server = server
        self.path = f"/mcp/{role}"
        self.session = ""
        with self.asked("initialize", capabilities={}, clientInfo={"name": "test", "version": "1"}) as wire:
            head = wire.head()
            assert head.status == 200
            self.session = head.headers["mcp-session-id"]
            wire.until(b'"result"')
        with self.sent({"method": "notifications/initialized"}) as wire:
            assert wire.head().status == 202

    def _fields(self) -> list[str]:
        fields = ["Accept: application/json, text/event-stream"]
        return [*fields, f"Mcp-Session-Id: {self.session}"] if self.session else fields

    def asked(self, method: str, **params: object) -> Wire:
        params = {"protocolVersion": "2025-06-18", **params}
        return self.sent({"id": 1, "method": method, "params": params})

    def sent(self, message: dict[str, object]) -> Wire:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        fields = [*self._fields(), "Content-Type: application/json", f"Content-Length: {len(body)}"]
        wire = Wire(self.server.host, self.server.port)
        wire.send(request(self.path, *fields, method="POST", body=body))
        return wire

    def listening(self) -> Wire:
        wire = Wire(self.server.host, self.server.port)
        wire.send(request(self.path, *self._fields()))
        return wire


@pytest.mark.skipif(find_spec("mcp") is None, reason="the mcp package is not installed")
@pytest.mark.parametrize("role", ROLES)
def test_an_mcp_stream_ends_when_its_client_leaves(server: LiveServer, role: str) -> None:
    """The call of the server's, that is: what a tool does for its session is the session's matter."""
    eventually(lambda: calls(server) == 0, "nothing runs")
    for leave in WAYS:
        client = McpClient(server, role)
        key, _ = target("mcp", role)
        arguments = {"key": key, "every": TALKING}
        with (
            client.asked(
                "tools/call", name="talk", arguments=arguments, _meta={"progressToken": 1}
            ) as talking,
            client.listening() as silent,
        ):
            talking.until(b"notifications/progress")
            eventually(lambda: calls(server) == 2, "both streams are open")
            leave(talking.sock)
            leave(silent.sock)
            eventually(lambda: calls(server) == 0, "both calls end", SOON + 0.5)  # a status may be 0.5 s old


# what runs on after its client left


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("leave", WAYS)
def test_background_tasks_run_also_when_the_client_left_before_the_response_began(
    server: LiveServer, common_record: Path, role: str, leave: Callable[[socket.socket], None]
) -> None:
    key, path = target("background", role, s=0.1)
    with Wire(server.host, server.port) as wire:
        wire.send(request(path))
        eventually(lambda: f"began {key}" in recorded(common_record), "the call begins")
        leave(wire.sock)
        eventually(lambda: f"background {key}" in recorded(common_record), "its background task ran")
    assert not [entry for entry in server.logs if entry["event"] == "application raised"]


def test_status_names_the_path_of_a_call_that_outlives_its_client(
    server: LiveServer, common_record: Path
) -> None:
    key, path = target("background", "pool", s=1.5)
    with Wire(server.host, server.port) as wire:
        wire.send(request(path))
        eventually(lambda: f"began {key}" in recorded(common_record), "the call begins")
    shown = eventually(lambda: outliving(server), "the call is shown")
    assert {one.path for one in shown} == {"/background/pool"}
    assert {path for report in reports(server) for path in report.streams} == {"/background/*"}


def reports(server: LiveServer) -> list[ChildReport]:
    processes = [one for generation in status_of(server).generations for one in generation.processes]
    return [one.report for one in processes if one.report is not None]


def outliving(server: LiveServer) -> list[Running]:
    everything = [one for report in reports(server) for one in report.oldest]
    return [one for one in everything if one.state.startswith("response over")]


# responses without a body


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "asked",
    [
        ("starlette", "HEAD", 200),
        ("plain", "HEAD", 200),
        ("raw", "HEAD", 200),
        ("raw", "GET", 204),
        ("raw", "GET", 304),
    ],
    ids=lambda asked: "-".join(map(str, asked)),
)
def test_a_response_without_a_body_ends_its_stream_and_not_its_connection(
    server: LiveServer, common_record: Path, asked: tuple[str, str, int], role: str
) -> None:
    """RFC 9110 section 9.3.2, RFC 9112 section 6.3."""
    name, method, status = asked
    begun = []
    with Wire(server.host, server.port) as wire:
        for every in (SILENT, TALKING):
            key, path = target(name, role, every=every, status=status)
            begun.append(key)
            assert wire.get(path, method=method).status == status
        _, whole = target("background", "worker", s=0)
        assert wire.get(whole).body == b"{}"
        eventually(lambda: ended(common_record, begun), f"all of {begun} end", SOON)
    assert not [entry for entry in server.logs if entry["event"] == "application raised"]
