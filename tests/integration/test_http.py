"""HTTP/1.1 through the real server, worker and pool alike."""

import os
import time
from contextlib import ExitStack, suppress
from itertools import accumulate
from pathlib import Path

import pytest

from hsrv.http.connection import BODY_MOMENT
from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, eventually, masked, request, upgrade

EVENT_STREAM = "Accept: text/event-stream"


@pytest.fixture
def shared(common: Serve) -> LiveServer:
    """With the defaults."""
    return common()


IMPATIENT = {"header_timeout": 0.3, "send_timeout": 0.5, "stream_send_timeout": 0.5}
IMPATIENT_LATER = {"body_timeout": 0.3, "keep_alive": 0.3}
"""Apart from the others: none must act in another's stead."""
ONE_PLACE = {"worker_concurrency": 1, "body_buffer": 1 << 20, "body_timeout": 2}

PLACES = pytest.mark.parametrize("fields", [(), (EVENT_STREAM,)], ids=["worker", "pool"])


@PLACES
def test_head_has_the_fields_and_no_body(shared: LiveServer, fields: tuple[str, ...]) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        answer = wire.get("/big?size=1000", *fields, method="HEAD")
        assert answer.headers["content-length"] == "1000"
        assert wire.get("/", *fields).status == 200


@PLACES
def test_http_1_0_is_closed_unless_it_asks_otherwise(shared: LiveServer, fields: tuple[str, ...]) -> None:
    server = shared
    extra = "".join(f"{field}\r\n" for field in fields)
    with Wire(server.host, server.port) as wire:
        wire.send(f"GET / HTTP/1.0\r\n{extra}\r\n".encode())
        assert wire.response().status == 200
        assert wire.ended()
    with Wire(server.host, server.port) as wire:
        for _ in range(2):
            wire.send(f"GET / HTTP/1.0\r\nConnection: keep-alive\r\n{extra}\r\n".encode())
            answer = wire.response()
            assert answer.headers["connection"] == "keep-alive"
    with Wire(server.host, server.port) as wire:
        wire.send(f"GET /chunks?n=3 HTTP/1.0\r\n{extra}\r\n".encode())
        answer = wire.response()
        assert "transfer-encoding" not in answer.headers
        assert answer.body == b"0,1,2,end"


@PLACES
def test_continue_is_sent_only_when_the_application_reads(
    shared: LiveServer, fields: tuple[str, ...]
) -> None:
    server = shared
    expects = ("Expect: 100-continue", "Content-Length: 5", *fields)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/echo", *expects, method="POST"))
        assert wire.head().status == 100
        wire.send(b"hello")
        assert wire.response().body == b"hello"
    with Wire(server.host, server.port) as wire:
        wire.send(request("/ignore-body", *expects, method="POST"))
        answer = wire.head()
        assert answer.status == 200
        assert answer.headers["connection"] == "close"


@PLACES
def test_an_error_before_the_response_is_a_500_and_after_it_a_cut(
    shared: LiveServer, fields: tuple[str, ...]
) -> None:
    server, request_id = shared, f"fails-in-{'pool' if fields else 'worker'}"
    for path in ("/fail", "/silent"):
        with Wire(server.host, server.port) as wire:
            assert wire.get(path, *fields).status == 500
    with Wire(server.host, server.port) as wire:
        wire.send(request("/fail-late", f"X-Request-ID: {request_id}", *fields))
        assert wire.head().headers["transfer-encoding"] == "chunked"
        try:
            rest = wire.rest()
        except ConnectionResetError:
            rest = b""
        assert not rest.endswith(b"0\r\n\r\n"), "a cut response must not look complete"
    entry = server.wait_for_log(
        lambda entry: entry["event"] == "application raised" and entry["request_id"] == request_id
    )
    assert "after the response" in entry["exception"]


@PLACES
@pytest.mark.parametrize("query", ["", "?late=1"])
def test_a_cancellation_of_the_applications_own_is_told_with_its_place(
    shared: LiveServer, fields: tuple[str, ...], query: str
) -> None:
    request_id = f"cancels-{bool(fields)}-{bool(query)}"
    with Wire(shared.host, shared.port) as wire:
        assert wire.get(f"/cancel{query}", f"X-Request-ID: {request_id}", *fields).status == 500
    entry = shared.wait_for_log(lambda one: one.get("request_id") == request_id and one["level"] == "error")
    assert entry["event"] == "application raised"
    assert "raw.py" in entry["exception"]
    assert entry["exception"].endswith("CancelledError: of the application")


def test_so_is_one_of_a_websocket(shared: LiveServer) -> None:
    with Wire(shared.host, shared.port) as wire:
        wire.send(upgrade("/", "X-Request-ID: cancels-websocket"))
        assert wire.head().status == 101
        wire.send(masked(1, b"cancel"))
        entry = shared.wait_for_log(
            lambda one: one.get("request_id") == "cancels-websocket" and one["level"] == "error"
        )
    assert entry["event"] == "application raised"
    assert "raw.py" in entry["exception"]


@PLACES
def test_large_bodies_stream_with_backpressure(shared: LiveServer, fields: tuple[str, ...]) -> None:
    server = shared
    body = os.urandom(3_000_000)
    with Wire(server.host, server.port) as wire:
        for _ in range(2):
            wire.send(request("/echo", f"Content-Length: {len(body)}", *fields, method="POST", body=body))
            assert wire.response().body == body


@PLACES
def test_a_small_unread_body_is_discarded_and_the_connection_kept(
    shared: LiveServer, fields: tuple[str, ...]
) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        wire.send(request("/ignore-body", "Content-Length: 100000", *fields, method="POST", body=b"x" * 1000))
        assert wire.response().status == 200
        wire.send(b"x" * 99000)
        assert wire.get("/", *fields).status == 200


@PLACES
def test_a_large_unread_body_closes_the_connection_after_a_readable_answer(
    shared: LiveServer, fields: tuple[str, ...]
) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        wire.send(
            request("/ignore-body", "Content-Length: 50000000", *fields, method="POST", body=b"x" * 300_000)
        )
        answer = wire.response()
        assert answer.status == 200
        assert answer.headers["connection"] == "close"


@PLACES
def test_files_are_sent_by_path(shared: LiveServer, tmp_path: Path, fields: tuple[str, ...]) -> None:
    content = os.urandom(2_500_000)
    (tmp_path / "file").write_bytes(content)
    server = shared
    with Wire(server.host, server.port) as wire:
        answer = wire.get(f"/file?path={tmp_path / 'file'}", *fields)
        assert answer.headers["content-length"] == str(len(content))
        assert answer.body == content
        head = wire.get(f"/file?path={tmp_path / 'file'}", *fields, method="HEAD")
        assert head.headers["content-length"] == str(len(content))
        assert wire.get(f"/file?path={tmp_path / 'none'}", *fields).status == 500


def test_early_hints_come_before_the_response(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        wire.send(request("/hint"))
        hint = wire.head()
        assert (hint.status, hint.headers["link"]) == (103, "</style.css>; rel=preload")
        assert wire.response().status == 200


def test_pipelined_requests_are_answered_in_order(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        bodies = [str(number).encode() for number in range(500)]
        wire.send(
            b"".join(request("/echo", f"Content-Length: {len(b)}", method="POST", body=b) for b in bodies)
        )
        assert [wire.response().body for _ in bodies] == bodies


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_what_cannot_be_served_is_refused_and_closed(shared: LiveServer, data: bytes, status: int) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        wire.send(data + request("/count?key=smuggled"))
        answer = wire.response()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b"", "nothing after an error is interpreted"


def test_requests_that_are_refused_do_not_fill_the_log(shared: LiveServer) -> None:
    """Each process tells the 1st, 2nd, 4th and so on of its own: where workers lack CPU, the pool reads some heads."""
    server = shared
    for _ in range(60):
        with Wire(server.host, server.port) as wire:
            wire.send(b"GET / HTTP/3.0\r\nHost: x\r\n\r\n")
            assert wire.response().status == 505
    server.wait_for_log(lambda entry: entry["event"] == "request refused" and entry["count"] >= 32)
    told = [
        entry["count"]
        for entry in server.logs
        if entry["event"] == "request refused" and entry["status"] == 505
    ]
    assert set(told) == {1, 2, 4, 8, 16, 32}
    assert len(told) < 20


@pytest.mark.parametrize(
    ("options", "data"),
    [
        (IMPATIENT, b"GET / HT"),
        (IMPATIENT_LATER, request("/echo", "Content-Length: 10", method="POST", body=b"123")),
        (
            IMPATIENT_LATER,
            request("/echo", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n"),
        ),
    ],
    ids=["header_timeout", "body_timeout", "body_timeout of chunks"],
)
def test_a_client_that_stops_sending_gets_408(common: Serve, options: dict[str, float], data: bytes) -> None:
    server = common(**options)
    with Wire(server.host, server.port) as wire:
        wire.send(data)
        assert wire.response().status == 408
        assert wire.rest() == b""


def test_a_client_that_sends_nothing_is_closed(common: Serve) -> None:
    first, later = common(**IMPATIENT), common(**IMPATIENT_LATER)
    with Wire(first.host, first.port) as silent, Wire(later.host, later.port) as kept:
        kept.get("/")
        assert silent.ended()
        assert kept.ended()


@PLACES
def test_a_client_that_stops_reading_is_cut(common: Serve, fields: tuple[str, ...]) -> None:
    server, role = common(**IMPATIENT), "pool" if fields else "worker"
    with Wire(server.host, server.port) as wire:
        wire.send(request("/big?size=50000000", *fields))
        server.wait_for_log(lambda entry: (entry.get("reason"), entry.get("role")) == ("send_timeout", role))
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.exactly(50_000_000)


def test_a_half_closed_client_is_still_answered(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        wire.send(request("/sleep?s=0.2"))
        wire.sock.shutdown(1)
        assert wire.response().status == 200


CHUNKED = "Transfer-Encoding: chunked"


@PLACES
def test_a_body_in_chunks_may_be_half_of_a_dialogue(shared: LiveServer, fields: tuple[str, ...]) -> None:
    with Wire(shared.host, shared.port) as wire:
        wire.send(request("/echo-chunked", CHUNKED, *fields, method="POST"))
        for word in (b"abc", b"defgh"):
            wire.send(b"%x\r\n%b\r\n" % (len(word), word))
            if word == b"abc":
                assert wire.head().status == 200
            assert wire.chunk() == word
        wire.send(b"0\r\n\r\n")
        assert wire.chunked() == b""
        assert wire.get("/").status == 200


@PLACES
def test_the_application_is_called_before_a_body_in_chunks_has_begun(
    shared: LiveServer, fields: tuple[str, ...]
) -> None:
    """It may be the one who speaks first. At once, not after BODY_MOMENT."""
    took = []
    with Wire(shared.host, shared.port) as wire:
        for _ in range(5):
            began = time.monotonic()
            wire.send(request("/ignore-body", CHUNKED, *fields, method="POST"))
            assert wire.response().status == 200
            took.append(time.monotonic() - began)
            wire.send(b"3\r\nabc\r\n0\r\n\r\n")
            assert wire.get("/").status == 200, "what it didn't read was skipped"
    assert min(took) < BODY_MOMENT


@PLACES
def test_a_short_body_whose_client_pauses_reaches_the_application(
    shared: LiveServer, common_record: Path, fields: tuple[str, ...]
) -> None:
    key = f"paused-{bool(fields)}"
    with Wire(shared.host, shared.port) as wire:
        length = "Content-Length: 6"
        wire.send(request(f"/echo-recorded?key={key}", length, *fields, method="POST", body=b"abc"))
        eventually(lambda: f"received {key}" in recorded(common_record), "the first part is seen", 5)
        wire.send(b"def")
        assert wire.response().body == b"abcdef"


def test_more_of_a_body_in_chunks_than_is_worth_skipping_ends_the_connection(shared: LiveServer) -> None:
    piece = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    with Wire(shared.host, shared.port) as wire:
        wire.send(request("/ignore-body", CHUNKED, method="POST", body=piece))
        assert wire.response().json == {"ignored": True}
        with suppress(ConnectionError):
            for _ in range(8):
                wire.send(piece)
        assert wire.rest() == b""


@pytest.mark.parametrize("field", ["Content-Length: 6", CHUNKED])
def test_a_slow_uploader_holds_no_place(common: Serve, common_record: Path, field: str) -> None:
    """Also when the application is called already."""
    server, chunked = common(**ONE_PLACE), field == CHUNKED
    with Wire(server.host, server.port) as slow, Wire(server.host, server.port) as quick:
        part = b"3\r\nabc\r\n" if chunked else b"abc"
        slow.send(request(f"/echo-recorded?key=slow-{chunked}", field, method="POST", body=part))
        eventually(lambda: f"received slow-{chunked}" in recorded(common_record), "the first part is seen", 5)
        assert quick.get("/sleep?s=0&key=quick").status == 200
        slow.send(b"3\r\ndef\r\n0\r\n\r\n" if chunked else b"def")
        assert slow.response().body == b"abcdef"


def test_requests_beyond_the_concurrency_limit_wait_their_turn(serve: Serve, record: Path) -> None:
    server = serve(workers=1, worker_concurrency=2, park_after=0)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.host, server.port)) for _ in range(6)]
        for wire in wires:
            wire.get("/")
        for wire in wires:
            wire.send(request("/sleep?s=0.1"))
        for wire in wires:
            assert wire.response().status == 200
    running = list(
        accumulate(
            1 if line.startswith("sleep-start") else -1
            for line in recorded(record)
            if line.startswith("sleep-")
        )
    )
    assert (max(running), running[-1]) == (2, 0)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_larger_than_what_is_read_while_its_request_waits_for_a_place_arrives_whole(
    common: Serve, common_record: Path, chunked: bool
) -> None:
    body = b"x" * 150_000
    framed = (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)) if chunked else body
    field = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    server, key = common(**ONE_PLACE), f"before-{chunked}"
    with Wire(server.host, server.port) as first, Wire(server.host, server.port) as second:
        second.get("/")
        first.send(request(f"/sleep?s=0.5&key={key}"))
        eventually(lambda: f"sleep-start {key}" in recorded(common_record), "the place is taken")
        second.send(request("/echo", field, method="POST", body=framed))
        answer = second.response()
        assert (answer.status, len(answer.body)) == (200, len(body))


def test_a_request_that_waits_too_long_for_a_place_is_shed(serve: Serve, record: Path) -> None:
    server = serve(worker_concurrency=1, queue_timeout=0.3)
    with Wire(server.host, server.port) as first, Wire(server.host, server.port) as second:
        first.get("/")
        second.get("/")
        first.send(request("/sleep?s=2"))
        eventually(lambda: "sleep-start " in recorded(record), "the place is taken")
        second.send(request("/"))
        answer = second.response()
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert first.response().status == 200


def test_state_is_copied_per_request_and_shared_below(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        assert wire.get("/set-state").json == {"shared": 1}
        assert wire.get("/set-state").json == {"shared": 2}
        state = wire.get("/scope").json["state"]
        assert "mine" not in state
        assert state["shared"] == "[1, 1]"


def test_the_scope_tells_client_server_and_proxy(serve: Serve) -> None:
    server = serve(root_path="/api")
    with Wire(server.host, server.port) as wire:
        scope = wire.get("/scope?a=1", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https").json
    assert scope["client"][0] == "203.0.113.7"
    assert scope["scheme"] == "https"
    assert scope["server"] == [server.host, server.port]
    assert scope["root_path"] == "/api"
    assert scope["query_string"] == "a=1"


def test_request_ids_are_taken_or_made_and_logged(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        wire.get(
            "/fail",
            "X-Request-ID: mine-1",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
    mine = [
        server.wait_for_log(lambda entry: (entry["event"], entry.get("request_id")) == (event, "mine-1"))  # noqa: B023  # called at once
        for event in ("application raised", "request")
    ]
    entry, access = mine
    assert entry["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c")
    assert access["status"] == 500


def test_a_slow_application_does_not_hold_other_connections(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as slow, Wire(server.host, server.port) as quick:
        slow.send(request("/sleep?s=1"))
        began = time.monotonic()
        assert quick.get("/").status == 200
        slow.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.sock.recv(1)
        slow.sock.settimeout(20)
        assert slow.response().status == 200
        assert time.monotonic() - began >= 0.9


def test_the_client_leaving_reaches_the_application_in_a_worker(serve: Serve, record: Path) -> None:
    server = serve(workers=1)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/until-disconnect"))
        eventually(lambda: "waiting worker" in recorded(record), "the application runs")
    eventually(lambda: "disconnected" in recorded(record), "the application learns it")
    server.wait_for_log(lambda entry: entry.get("reason") == "client_gone")
    server.wait_for_log(lambda entry: entry.get("path") == "/until-disconnect" and entry.get("status") == 499)
    assert not [entry for entry in server.logs if entry.get("level") == "error"], "to return then is no error"
