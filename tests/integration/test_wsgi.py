"""WSGI (PEP 3333) over real sockets: in a worker, in threads of a worker, in the pool."""

import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from hsrv.testing import LiveServer
from tests.apps import wsgi_raw
from tests.integration.conftest import Serve
from tests.integration.wire import Response, Wire, eventually, request

APP = "tests.apps.wsgi_raw:app"
NUMBERS = count()
SOURCE = Path(wsgi_raw.__file__).read_bytes()


@dataclass
class Place:
    server: LiveServer
    prefix: str
    record: Path
    threads: bool

    def path(self, name: str) -> str:
        """A path of its own, so that what is recorded of it is known from the others."""
        return f"/{self.prefix}/{name}/{next(NUMBERS)}"

    def wire(self) -> Wire:
        return Wire(self.server.host, self.server.port)

    def get(self, name: str, *fields: str, method: str = "GET", query: str = "") -> Response:
        with self.wire() as wire:
            return wire.get(self.path(name) + query, *fields, method=method)

    def recorded(self, path: str) -> list[str]:
        """What was noted of a path, but the call, which must be there once."""
        found = [line for line in self.record.read_text().splitlines() if path in line.split(" ")]
        assert found.pop(0) == f"called {path}"
        return [line.replace(path, "").strip() for line in found]

    def wait(self, path: str, *lines: str) -> None:
        eventually(lambda: self.recorded(path) == list(lines), f"{path}: {lines}")


@pytest.fixture(params=["worker", "threads", "pool"])
def place(request: pytest.FixtureRequest, common: Serve, common_record: Path) -> Place:
    return of(request.param, common, common_record)


def of(name: str, common: Serve, record: Path) -> Place:
    options: dict[str, Any] = {"stream": ["/pool/*"], "interface": "wsgi", "body_buffer": 4096}
    if name == "threads":
        options |= {"threads": 4}
    server = common(APP, **options)
    return Place(server, "pool" if name == "pool" else "work", record, name != "worker")


# the environ


def test_the_environ_has_what_cgi_and_pep_3333_name(place: Place) -> None:
    with place.wire() as wire:
        path = place.path("seen")
        wire.send(
            request(
                f"{path}%2f%C3%A9?a=b%20c&d",
                "X-Two: 1",
                "X-Two: 2",
                "Cookie: a=1",
                "Cookie: b=2",
                "Content-Type: text/x",
                "Content-Length: 3",
                "Proxy: http://evil",
                "X_Under: dropped",
                method="POST",
                body=b"abc",
            )
        )
        seen = wire.response().json
    assert seen["REQUEST_METHOD"] == "POST"
    assert seen["PATH_INFO"] == path + "/\xc3\xa9"
    assert seen["RAW_URI"] == seen["REQUEST_URI"] == f"{path}%2f%C3%A9?a=b%20c&d"
    assert seen["QUERY_STRING"] == "a=b%20c&d"
    assert seen["SCRIPT_NAME"] == ""
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == (place.server.host, str(place.server.port))
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["REMOTE_PORT"].isdigit()
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"], seen["input"]) == ("text/x", "3", "abc")
    assert seen["HTTP_X_TWO"] == "1,2"
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
    assert seen["wsgi.url_scheme"] == "http"
    assert seen["wsgi.multithread"] is place.threads
    assert seen["wsgi.multiprocess"] is True
    assert seen["wsgi.run_once"] is False
    assert seen["hsrv.process"]["role"] == ("pool" if place.prefix == "pool" else "worker")
    assert not {"HTTP_PROXY", "HTTP_X_UNDER", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & seen.keys()


def test_client_and_scheme_are_those_that_a_trusted_proxy_names(place: Place) -> None:
    seen = place.get("seen", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https").json
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("192.0.2.7", "https")


# the body of the request


def test_a_body_is_read_in_every_way_and_ends_where_it_ends(place: Place) -> None:
    with place.wire() as wire:
        body = b"one\ntwothree\nfour"
        wire.send(request(place.path("lines"), "Content-Length: 17", method="POST", body=body))
        wire.send(request(place.path("seen")))
        assert wire.response().body == repr([b"one\n", b"two", b"three\n", b"four", b"", b""]).encode()
        assert wire.response().json["input"] == ""


@pytest.mark.parametrize(
    ("size", "kind"), [(4096, "BytesIO"), (4097, "BufferedRandom"), (300_000, "BufferedRandom")]
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_body_is_whole_and_seekable_in_memory_or_in_a_file(
    place: Place, size: int, kind: str, chunked: bool
) -> None:
    with place.wire() as wire:
        body = b"x" * size
        if chunked:
            fields = "Transfer-Encoding: chunked"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        else:
            fields = f"Content-Length: {size}"
        wire.send(request(place.path("again"), fields, method="PUT", body=body))
        answer = wire.response()
        assert answer.body == b"%d True" % size
        assert answer.headers["x-kind"] == kind
        assert wire.get(place.path("several")).body == b"hello"


def test_chunks_become_a_length(place: Place) -> None:
    with place.wire() as wire:
        chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        wire.send(request(place.path("seen"), "Transfer-Encoding: chunked", method="POST", body=chunks))
        seen = wire.response().json
    assert (seen["CONTENT_LENGTH"], seen["input"]) == ("5", "abcde")
    assert "HTTP_TRANSFER_ENCODING" not in seen


def test_who_waits_for_100_is_told_to_go_on_before_the_call(place: Place) -> None:
    with place.wire() as wire:
        wire.send(request(place.path("seen"), "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert wire.head().status == 100
        wire.send(b"abc")
        assert wire.response().json["input"] == "abc"


def test_a_body_that_its_client_cuts_never_calls_the_application(place: Place) -> None:
    path = place.path("seen")
    for fields, body in (
        ("Content-Length: 100000", b"x" * 50_000),
        ("Transfer-Encoding: chunked", b"5\r\nhel"),
    ):
        with place.wire() as wire:
            wire.send(request(path, fields, method="POST", body=body))
            wire.sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                assert wire.rest() == b""
    assert place.get("several").status == 200
    assert path not in place.record.read_text()


def test_a_slow_body_holds_no_worker(common: Serve, common_record: Path) -> None:
    place = of("worker", common, common_record)
    with place.wire() as slow, place.wire() as fast:
        slow.send(request(place.path("seen"), "Content-Length: 6", method="POST", body=b"abc"))
        large = request(place.path("again"), "Content-Length: 100000", method="POST", body=b"x" * 60_000)
        with place.wire() as slower:
            slower.send(large)
            for _ in range(5):
                assert fast.get(place.path("several")).body == b"hello"
            slower.send(b"x" * 40_000)
            assert slower.response().body == b"100000 True"
        slow.send(b"def")
        assert slow.response().json["input"] == "abcdef"


# the response


@pytest.mark.parametrize(
    ("name", "body", "framing"),
    [
        ("listed", b"hello", "content-length"),
        ("several", b"hello", "transfer-encoding"),
        ("parts", b"hello", "transfer-encoding"),
        ("late", b"late", "transfer-encoding"),
        ("nothing", b"", "content-length"),
        ("length", b"hello", "content-length"),
        ("too_long", b"hello", "content-length"),
        ("writes", b"hello world", "transfer-encoding"),
        ("cookies", b"ok", "transfer-encoding"),
        ("file", SOURCE[10:], "content-length"),
        ("file_part", SOURCE[:5], "content-length"),
        ("file_like", b"in memory", "transfer-encoding"),
    ],
)
def test_what_is_returned_arrives_and_the_next_request_too(
    place: Place, name: str, body: bytes, framing: str
) -> None:
    with place.wire() as wire:
        path = place.path(name)
        answer = wire.get(path)
        assert (answer.status, answer.body) == (200, body)
        assert framing in answer.headers
        if name in ("parts", "nothing", "length", "too_long", "file_like"):
            place.wait(path, "closed")
        head = wire.get(place.path(name), method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert wire.get(place.path("several")).body == b"hello"


@pytest.mark.parametrize("name", ["empty_status", "body_status"])
@pytest.mark.parametrize("code", [204, 304])
def test_no_body_follows_204_and_304(place: Place, name: str, code: int) -> None:
    with place.wire() as wire:
        path = place.path(name)
        answer = wire.get(f"{path}?{code}")
        assert answer.status == code
        assert answer.headers["x-a"] == "b"
        assert "transfer-encoding" not in answer.headers
        assert wire.get(place.path("several")).body == b"hello"
        place.wait(path, "closed")


def test_header_fields_are_latin_1_and_may_repeat(place: Place) -> None:
    with place.wire() as wire:
        wire.send(request(place.path("cookies")))
        head = wire.until(b"\r\n\r\n")
    assert re.findall(rb"set-cookie: (.*)", head) == [b"a=1\r", b"b=2\r"]
    assert b"x-latin: caf\xe9" in head


def test_early_hints_are_links_of_a_103(place: Place) -> None:
    with place.wire() as wire:
        wire.send(request(place.path("hint")))
        hint = wire.head()
        assert (hint.status, hint.headers) == (103, {"link": "</a.css>; rel=preload"})
        assert wire.response().body == b"hinted"


def test_exc_info_replaces_headers_that_are_not_sent_yet(place: Place) -> None:
    answer = place.get("replaced")
    assert (answer.status, answer.body) == (500, b"sorry")
    assert "x-second" in answer.headers
    assert "x-first" not in answer.headers


@pytest.mark.parametrize("name", ["reraised", "raises_amid", "too_short"])
def test_what_fails_amid_its_body_is_cut_and_closed(place: Place, name: str) -> None:
    with place.wire() as wire:
        path = place.path(name)
        wire.send(request(path))
        with pytest.raises((EOFError, ConnectionResetError)):  # the reset may come first
            assert wire.response().status == 200
        place.wait(path, "closed")
    place.server.wait_for_log(lambda entry: entry["event"] == "application raised" and entry["path"] == path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "LookupError: at once"),
        ("raises_started", "LookupError: once started"),
        ("raises_first", "ZeroDivisionError"),
        ("too_long_at_once", "longer than its content-length"),
        ("exits", "tried to exit"),
        ("no_start", "did not call start_response"),
        ("start_twice", "called twice"),
        ("text_body", "must be bytes, not str"),
        ("text_block", "must be bytes, not str"),
        ("none", "NoneType"),
        ("hop?Connection", "hop-by-hop"),
        ("hop?Transfer-Encoding", "hop-by-hop"),
        ("hop?Keep-Alive", "hop-by-hop"),
        ("status?OK", "must begin with a code of three digits"),
        ("status?2000%20OK", "must begin with a code of three digits"),
        ("status?99%20OK", "must begin with a code of three digits"),
        ("injected", "control character in header"),
        ("wide", "must be latin-1"),
        ("bytes_header", "must be str, not bytes"),
    ],
)
def test_what_fails_before_its_body_is_a_500_that_says_why(place: Place, name: str, said: str) -> None:
    name, _, query = name.partition("?")
    path = place.path(name)
    with place.wire() as wire:
        assert wire.get(f"{path}?{query}").status == 500
    entry = place.server.wait_for_log(
        lambda entry: entry["event"] == "application raised" and entry["path"] == path
    )
    assert said in str(entry["exception"])
    if name == "raises_first":
        place.wait(path, "closed")


def test_what_fails_in_close_has_answered(place: Place) -> None:
    with place.wire() as wire:
        path = place.path("raises_close")
        assert wire.get(path).body == b"hello"
        place.wait(path, "closed")
    place.server.wait_for_log(lambda entry: entry["event"] == "application raised" and entry["path"] == path)


# streams


def test_a_stream_has_the_context_of_its_call_wherever_it_runs(place: Place) -> None:
    with place.wire() as wire:
        path = place.path("context")
        answer = wire.get(path)
        expected = f"data: nowhere {path}\n\n" * 3 + "data: reset\n\n"
        assert answer.body.decode() == expected
        place.wait(path, "closed")


def test_a_client_that_leaves_ends_its_generator(place: Place) -> None:
    path = place.path("endless")
    with place.wire() as wire:
        wire.send(request(path))
        assert wire.head().status == 200
        assert wire.chunk() == b"data: tick\n\n"
    eventually(lambda: place.recorded(path), "it is closed")
    place.wait(path, "finally  here", "closed")


def test_a_client_that_reads_nothing_holds_up_its_generator_alone(place: Place) -> None:
    path = place.path("flood")
    with place.wire() as wire, place.wire() as other:
        wire.send(request(path))
        assert wire.head().status == 200
        eventually(lambda: len(place.recorded(path)) > 3, "it writes")

        def stands() -> bool:
            before = len(place.recorded(path))
            assert other.get(place.path("several")).body == b"hello"
            return before == len(place.recorded(path))

        eventually(lambda: stands() and stands() and stands(), "it stands")
        assert int(place.recorded(path)[-1].split()[-1]) < 64 << 20
    eventually(lambda: place.recorded(path)[-1] == "closed", "it is closed")
    assert place.recorded(path)[-2] == "finally"


def test_writing_much_is_slowed_down_to_its_client(place: Place) -> None:
    with place.wire() as wire:
        answer = wire.get(place.path("writes_much"))
        assert answer.body == b"x" * (64 * 65536)


def test_the_validator_had_no_complaint(common: Serve, common_record: Path) -> None:
    """Of a response that was not closed it can only tell when it is collected."""
    for name in ("worker", "threads"):
        assert "Iterator garbage collected" not in of(name, common, common_record).server.output
