"""HTTP at the admin address, byte by byte, against the real server on a real socket."""

import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from hsrv.supervisor.admin.http import server as module
from hsrv.supervisor.admin.http.address import MAX_CONNECTIONS
from hsrv.supervisor.admin.http.guard import Guard
from hsrv.supervisor.admin.http.route import AdminRoute, Request, Response, Stream, json_response
from hsrv.supervisor.admin.http.server import AdminServer
from hsrv.supervisor.sockets.listeners import close_listeners, open_listeners

DEADLINE = 20.0
HOST = b"Host: localhost\r\n"


class Site:
    """Paths for tests."""

    def __init__(self) -> None:
        self.streams_closed = 0

    async def plain(self, request: Request) -> Response:
        return Response(b"plain")

    async def echo(self, request: Request) -> Response:
        return json_response(
            {"method": request.method, "query": dict(request.query), "body": request.body.decode()}
        )

    async def broken(self, request: Request) -> Response:
        raise RuntimeError("broken on purpose")

    async def big(self, request: Request) -> Response:
        return Response(b"x" * 16 * 1024 * 1024)

    async def slow(self, request: Request) -> Response:
        await anyio.sleep_forever()
        raise AssertionError

    async def stream(self, request: Request) -> Stream:
        return Stream(self._ticks(int(request.query.get("n", "0"))), "text/event-stream")

    async def flood(self, request: Request) -> Stream:
        return Stream(self._flood(), "text/plain")

    async def _flood(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            self.streams_closed += 1

    async def fail_late(self, request: Request) -> Stream:
        return Stream(self._fail(), "text/plain")

    async def _fail(self) -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise RuntimeError("broken on purpose")

    async def _ticks(self, number: int) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            for _ in range(number - 1):
                yield b"tick"
            if not number:
                await anyio.sleep_forever()
        finally:
            self.streams_closed += 1

    def routes(self) -> dict[str, AdminRoute]:
        return {
            "/plain": AdminRoute(self.plain, public=True),
            "/echo": AdminRoute(self.echo, methods=("GET", "POST")),
            "/broken": AdminRoute(self.broken),
            "/big": AdminRoute(self.big),
            "/slow": AdminRoute(self.slow),
            "/stream": AdminRoute(self.stream),
            "/flood": AdminRoute(self.flood),
            "/fail-late": AdminRoute(self.fail_late),
        }


Story = Callable[[tuple[str, int], Site], Awaitable[None]]


def run(story: Story) -> None:
    async def main() -> None:
        site = Site()
        listeners = open_listeners(["127.0.0.1:0"], backlog=64, unix_mode=0)
        host, port = listeners[0].info.address
        assert port is not None
        try:
            with anyio.fail_after(DEADLINE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(AdminServer(listeners, site.routes(), Guard()).serve)
                    await story((host, port), site)
                    tasks.cancel_scope.cancel()
        finally:
            close_listeners(listeners)

    anyio.run(main)


async def until(stream: SocketStream, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        data += await stream.receive()
    return data


async def both(stream: SocketStream) -> bytes:
    data = b""
    while data.count(b"plain\r\n") + data.endswith(b"plain") + data.count(b"plainHTTP") < 2:
        data += await stream.receive()
    return data


async def eventually(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the server tells nobody
        await anyio.sleep(0.01)


async def everything(stream: SocketStream) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return data


def test_requests_follow_each_other_on_one_connection_also_in_one_packet() -> None:
    async def story(where: tuple[str, int], site: Site) -> None:
        async with await anyio.connect_tcp(*where) as stream:
            for _ in range(3):
                await stream.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
                assert (await until(stream, b"plain")).startswith(b"HTTP/1.1 200 OK\r\n")
            await stream.send((b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n") * 2)
            assert (await both(stream)).count(b"HTTP/1.1 200 OK") == 2
            await stream.send(b"GET /nothing HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            assert b"HTTP/1.1 404 Not Found" in await everything(stream)

    run(story)


def test_head_is_answered_like_get_without_the_body() -> None:
    async def story(where: tuple[str, int], site: Site) -> None:
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(b"HEAD /plain HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            head, _, body = (await everything(stream)).partition(b"\r\n\r\n")
            assert b"content-length: 5" in head
            assert body == b""

    run(story)


def test_a_handler_gets_method_query_and_body() -> None:
    async def story(where: tuple[str, int], site: Site) -> None:
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(
                b"POST /echo?a=1&b=%20x&a=2 HTTP/1.1\r\n"
                + HOST
                + b"Content-Length: 4\r\nConnection: close\r\n\r\nbody"
            )
            assert (await everything(stream)).endswith(
                b'{"method":"POST","query":{"a":"2","b":" x"},"body":"body"}\n'
            )

    run(story)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NOT HTTP\r\n\r\n", b"400"),
        (b"GET /plain HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /plain HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20_000, b"431"),
        (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 70000\r\n\r\n" + b"x" * 70_000, b"413"),
        (b"GET /plain HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"421"),
        (b"GET /broken HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", b"500"),
        (b"GET /slow HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", b"504"),
        (b"DELETE /plain HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", b"405"),
    ],
)
def test_what_is_wrong_is_said_and_the_next_one_is_served(
    data: bytes, status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.05)

    async def story(where: tuple[str, int], site: Site) -> None:
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(data)
            assert (await until(stream, b"\r\n\r\n")).split(b" ")[1] == status
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b" 200 OK" in await until(stream, b"plain")

    run(story)


def test_who_says_nothing_or_half_of_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 0.05)

    async def story(where: tuple[str, int], site: Site) -> None:
        for begin in (b"", b"GET /pl"):
            async with await anyio.connect_tcp(*where) as stream:
                if begin:
                    await stream.send(begin)
                assert await everything(stream) == b""

    run(story)


def test_a_new_client_takes_the_place_of_the_one_that_has_been_idle_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)

    async def story(where: tuple[str, int], site: Site) -> None:
        first = await anyio.connect_tcp(*where)
        second = await anyio.connect_tcp(*where)
        for stream in (second, first):  # so the second has been idle for longer
            await stream.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
            await until(stream, b"plain")
        async with await anyio.connect_tcp(*where) as third:
            await third.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
            await until(third, b"plain")
            assert await everything(second) == b""
            await first.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
            await until(first, b"plain")
        await first.aclose()
        await second.aclose()

    run(story)


HALVES = {
    "nothing": b"",
    "half of a head": b"GET /plain HTTP/1.1\r\n" + HOST,
    "half of a body": b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nbody",
    "a body that nobody wants": b"POST /plain HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nbody",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_no_number_of_half_requests_keeps_a_probe_out(half: bytes) -> None:
    async def story(where: tuple[str, int], site: Site) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(MAX_CONNECTIONS + module.MAX_AT_ONCE):
                stream = await stack.enter_async_context(await anyio.connect_tcp(*where))
                await stream.send(half or b"\r\n")
            for _ in range(28):
                probe = await stack.enter_async_context(await anyio.connect_tcp(*where))
                await probe.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
                assert b" 200 OK" in await until(probe, b"plain")

    run(story)


def test_the_one_without_a_complete_request_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 3)

    async def story(where: tuple[str, int], site: Site) -> None:
        async with AsyncExitStack() as stack:

            async def connected(data: bytes, mark: bytes = b"") -> SocketStream:
                stream = await stack.enter_async_context(await anyio.connect_tcp(*where))
                await stream.send(data)
                if mark:
                    await until(stream, mark)
                return stream

            idle = await connected(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n", b"plain")
            half = await connected(b"GET /pl")
            busy = await connected(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n", b"first")
            await idle.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
            await until(idle, b"plain")  # so the half one has waited for longer
            await connected(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n", b"plain")
            assert await everything(half) == b""
            await connected(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n", b"plain")
            assert await everything(idle) == b""
            await busy.aclose()
            await eventually(lambda: site.streams_closed == 1)

    run(story)


def test_while_all_are_being_answered_a_request_that_is_complete_at_once_is_answered_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(module, "MAX_AT_ONCE", 1)
    monkeypatch.setattr(module, "AT_ONCE_TIMEOUT", 0.3)

    async def story(where: tuple[str, int], site: Site) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                busy = await stack.enter_async_context(await anyio.connect_tcp(*where))
                await busy.send(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
                await until(busy, b"first")
            for _ in range(2):
                probe = await stack.enter_async_context(await anyio.connect_tcp(*where))
                await probe.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
                answer = await everything(probe)
                assert b" 200 OK" in answer
                assert b"connection: close" in answer
                await probe.aclose()
            for begin in (
                b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n",
                b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n",
            ):
                async with await anyio.connect_tcp(*where) as late, await anyio.connect_tcp(*where) as other:
                    await late.send(begin)
                    await other.send(begin)
                    await everything(late)
                    await everything(other)
            assert site.streams_closed >= 1, "what takes long has no such place"

    run(story)


def test_when_these_places_are_taken_too_the_new_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(module, "MAX_AT_ONCE", 0)

    async def story(where: tuple[str, int], site: Site) -> None:
        async with await anyio.connect_tcp(*where) as busy:
            await busy.send(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
            await until(busy, b"first")
            for _ in range(20):
                async with await anyio.connect_tcp(*where) as other:
                    assert await everything(other) == b""

    run(story)
    assert capsys.readouterr().out.count("admin client refused") == 5, "1, 2, 4, 8, 16"


POST = b"POST %s HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [(b"/nothing", 9, b"404"), (b"/plain", 9, b"405"), (b"/echo", 65537, b"413")],
)
def test_a_head_is_judged_before_its_body_is_there(path: bytes, length: int, status: bytes) -> None:
    async def story(where: tuple[str, int], site: Site) -> None:
        for sent in (0, min(60_000, length - 1)):
            async with await anyio.connect_tcp(*where) as stream:
                await stream.send(POST % (path, length) + b"x" * sent)
                data = b""
                with contextlib.suppress(anyio.EndOfStream):  # a reset is another exception
                    while True:
                        data += await stream.receive()
                head, _, answer = data.partition(b"\r\n\r\n")
                assert head.split(b" ")[1] == status
                assert b"connection: close" in head
                assert answer.endswith(b"}\n"), "the whole of it, whatever we didn't read"

    run(story)


def test_a_refusal_whose_body_has_come_leaves_the_connection_open() -> None:
    async def story(where: tuple[str, int], site: Site) -> None:
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(POST % (b"/plain", 4) + b"body")
            assert b" 405 " in await until(stream, b"}\n")
            await stream.send(b"GET /plain HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b" 200 OK" in await until(stream, b"plain")

    run(story)


def test_a_stream_goes_on_until_it_ends_or_its_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STREAMS", 1)

    async def story(where: tuple[str, int], site: Site) -> None:
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(b"GET /stream?n=3 HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await everything(stream)).endswith(
                b"\r\n\r\n5\r\nfirst\r\n4\r\ntick\r\n4\r\ntick\r\n0\r\n\r\n"
            )
        await eventually(lambda: site.streams_closed == 1)
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
            await until(stream, b"first")
            async with await anyio.connect_tcp(*where) as second:
                await second.send(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
                assert b" 503 " in await until(second, b"\r\n\r\n"), "the others are for probes"
        await eventually(lambda: site.streams_closed == 2)
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(b"GET /stream?n=1 HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b" 200 OK" in await everything(stream), "its place is free again"

    run(story)


def test_a_client_that_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_TIMEOUT", 0.1)

    async def story(where: tuple[str, int], site: Site) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(where)
        with sock:
            sock.sendall(b"GET /flood HTTP/1.1\r\n" + HOST + b"\r\n")
            await eventually(lambda: site.streams_closed == 1)

    run(story)


def test_a_client_that_takes_a_little_now_and_then_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_TIMEOUT", 0.3)

    async def story(where: tuple[str, int], site: Site) -> None:
        async with await anyio.connect_tcp(*where) as stream:
            await stream.send(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
            taken, end = 0, anyio.current_time() + 1
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while anyio.current_time() < end:
                    taken += len(await stream.receive(65_536))
                    await anyio.sleep(0.01)
                taken += len(await everything(stream))
            assert taken < 16 * 1024 * 1024

    run(story)


def test_a_stream_that_fails_costs_its_own_connection() -> None:
    async def story(where: tuple[str, int], site: Site) -> None:
        for _ in range(2):
            async with await anyio.connect_tcp(*where) as stream:
                await stream.send(b"GET /fail-late HTTP/1.1\r\n" + HOST + b"\r\n")
                assert (await everything(stream)).endswith(b"5\r\nfirst\r\n"), "it has no proper end"

    run(story)


def test_an_address_opened_as_a_socket_file_takes_any_host(tmp_path: Path) -> None:
    async def main() -> None:
        listeners = open_listeners([f"unix:{tmp_path}/a"], backlog=1, unix_mode=0o600)
        try:
            with anyio.fail_after(DEADLINE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(AdminServer(listeners, Site().routes(), Guard()).serve)
                    async with await anyio.connect_unix(f"{tmp_path}/a") as stream:
                        await stream.send(b"GET /plain HTTP/1.1\r\nHost: whatever\r\n\r\n")
                        data = b""
                        while b"plain" not in data:
                            data += await stream.receive()
                        assert b" 200 OK" in data
                    tasks.cancel_scope.cancel()
        finally:
            close_listeners(listeners)

    anyio.run(main)
