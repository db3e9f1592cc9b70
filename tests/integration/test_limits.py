"""Limits and patience: who is cut, who is refused, and for what reason; and that nobody else is."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.integration.conftest import DEADLINE, Serve, is_busy_with, pids, reasons, status_of
from tests.integration.wire import Response, Wire, eventually, request, upgrade

EVENT_STREAM = "Accept: text/event-stream"
LARGE = 2_000_000
"""Bytes of a body that is more than a server reads before its application has to take it."""


class Crowd(ExitStack):
    """Connections to one server."""

    def __init__(self, server: LiveServer) -> None:
        super().__init__()
        self._server = server

    def wire(self, first: bytes = b"") -> Wire:
        wire = self.enter_context(Wire(self._server.host, self._server.port))
        wire.send(first)
        return wire

    def kept(self) -> Wire:
        """One that was served, and stays."""
        wire = self.wire(request("/"))
        assert wire.response().status == 200
        return wire


def drip(wires: list[Wire], byte: bytes) -> list[Response]:
    """Send a byte now and then on each until all have answered, closed or not; the answers."""
    waiting = dict.fromkeys(wires)
    answers = []

    def all_have_answered() -> bool:
        for wire in list(waiting):
            wire.sock.settimeout(0.02)
            try:
                wire.send(byte)
                answers.append(wire.response())
            except TimeoutError:
                continue
            del waiting[wire]
        return not waiting

    eventually(all_have_answered, "all are answered")
    return answers


# patience


def test_whoever_is_too_slow_is_cut_and_counted_by_what_he_was_slow_at(serve: Serve) -> None:
    server = serve(header_timeout=1, body_timeout=1, keep_alive=1, send_timeout=1)
    with Crowd(server) as crowd:
        silent = crowd.wire()
        idle = crowd.kept()
        heads = [crowd.wire(b"GET / HTTP/1.1\r\nX-Slow: ") for _ in range(2)]
        bodies = [
            crowd.wire(request("/echo", f"Content-Length: {size}", method="POST", body=b"x"))
            for size in (100, LARGE)
        ]
        dripping = [
            crowd.wire(request("/echo", f"Content-Length: {size}", *fields, method="POST"))
            for size in (100, LARGE)
            for fields in ((), (EVENT_STREAM,))
        ]
        bodies.append(crowd.wire(request("/read-late?s=1.6", f"Content-Length: {LARGE}", method="POST")))
        bodies.append(
            crowd.wire(request("/echo", "Transfer-Encoding: chunked", method="POST", body=b"1\r\nx\r\n"))
        )
        reader = crowd.wire(request("/big?size=10000000"))
        assert [answer.status for answer in drip(heads + dripping, b"x")] == [408] * 6
        assert [wire.response().status for wire in bodies] == [408] * 4
        for wire in (silent, idle):
            assert wire.ended()
        eventually(lambda: reasons(server)["send_timeout"], "the reader is cut")
        with pytest.raises(ConnectionResetError):
            reader.rest()
    expected = {
        "first_byte_timeout": 1,
        "idle_timeout": 1,
        "head_timeout": 2,
        "body": 8,
        "send_timeout": 1,
    }
    eventually(lambda: sum(cut(server).values()) >= sum(expected.values()), "each is counted")
    found = cut(server)
    assert found["body_rate"] >= 4, "a trickle is no silence"
    # Silence for --body-timeout is below any rate over --body-timeout: whichever is looked at first.
    found["body"] = found.pop("body_rate") + found.pop("body_timeout")
    assert found == expected, "once, by its reason"


def cut(server: LiveServer) -> dict[str, int]:
    return {reason: n for reason, n in reasons(server).items() if reason != "handed_off"}


def test_a_body_that_is_fast_enough_may_take_long_and_talks_have_no_rate(serve: Serve) -> None:
    """Talk: a response that has begun before its request is complete. How fast it goes is the matter of both sides."""
    server = serve(body_timeout=0.5, body_min_rate=2000)
    with Crowd(server) as crowd:
        both = ((), (EVENT_STREAM,))
        length = f"Content-Length: {LARGE}"
        uploads = [crowd.wire(request("/echo", length, *fields, method="POST")) for fields in both]
        talks = [crowd.wire(request("/echo-chunked", length, *fields, method="POST")) for fields in both]
        for talk in talks:
            talk.send(b"x" * 100_000)
            assert talk.head().status == 200
        for _ in range(20):
            time.sleep(0.1)  # the pace of these clients
            for upload, talk in zip(uploads, talks, strict=True):
                upload.send(b"x" * 1000)
                talk.send(b"x")
        for wire, sent in [(wire, 20_000) for wire in uploads] + [(wire, 100_020) for wire in talks]:
            wire.send(b"x" * (LARGE - sent))
        assert all(upload.response().body == b"x" * LARGE for upload in uploads)
        assert all(talk.chunked() == b"x" * LARGE for talk in talks)


def test_a_request_is_not_charged_for_the_time_of_its_client(serve: Serve) -> None:
    server = serve(workers=1, request_timeout=1.5)
    with Crowd(server) as crowd:
        parts, part = 22, b"x" * 16_384
        size = f"Content-Length: {parts * len(part)}"
        slow = crowd.wire(request("/read-then-sleep?s=1", size, method="POST"))
        for _ in range(parts):
            time.sleep(0.1)  # the pace of this client: 2.2 s in all
            slow.send(part)
        assert slow.response().status == 200
        assert crowd.wire(request("/sleep?s=60")).response().status == 504


def test_an_application_that_does_not_read_makes_no_slow_client(serve: Serve) -> None:
    server = serve(workers=1, body_timeout=0.5, body_min_rate=20_000, body_buffer=10_000)
    with Crowd(server) as crowd:
        pieces = [b"x" * 20_000, b"x" * 5_000, *[b"x" * 6_000] * 12]
        size = f"Content-Length: {len(b''.join(pieces))}"
        wire = crowd.wire(request("/read-think-read?s=3", size, method="POST"))
        for piece, pause in zip(pieces, [0.2, 2.8, *[0.1] * 12], strict=True):
            wire.send(piece)  # the second is more than is read ahead
            time.sleep(pause)
        assert wire.response().status == 200


def test_a_stream_has_a_send_timeout_of_its_own(serve: Serve) -> None:
    server = serve(workers=1, send_timeout=60, stream_send_timeout=1)
    with Crowd(server) as crowd:
        reader = crowd.wire(request("/blocks?n=1000", EVENT_STREAM))
        eventually(lambda: reasons(server)["send_timeout"], "the reader is cut")
        with pytest.raises(ConnectionResetError):
            reader.rest()


# who waits for his own client


def test_slow_clients_hold_no_place_and_teach_nothing(serve: Serve) -> None:
    """Or some of them could make everybody wait, and move what they like into the process of the streams."""
    server = serve(workers=1, worker_concurrency=1, queue_timeout=60, stream_after=0.5)
    with Crowd(server) as crowd:
        slow = crowd.wire(request("/blocks?n=100"))
        crowd.wire(request("/echo", f"Content-Length: {LARGE}", method="POST", body=b"x" * 100_000))
        crowd.wire(request("/echo", f"Content-Length: {LARGE}", "Expect: 100-continue", method="POST"))
        crowd.wire(request("/echo", "Content-Length: 10", method="POST", body=b"123"))
        crowd.wire(request("/echo", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n"))
        for _ in range(4):
            assert crowd.wire(request("/sleep?s=0.5")).response().status == 200
        assert len(slow.response().body) == 100 * 65536
        assert b"worker" in crowd.wire(request("/blocks?n=0")).response().body
    assert not any(entry["event"] == "stream in a worker" for entry in server.logs)


# how many


def refused(wire: Wire) -> bool:
    """Whether it is answered with 503, before or after it asks. False: with 200."""
    wire.send(request("/"))
    answer = wire.response()
    assert answer.status in (200, 503)
    assert (answer.status == 503) == ("retry-after" in answer.headers)
    return answer.status == 503


def was_told(wire: Wire) -> bool:
    """Whether it could read why it is refused."""
    try:
        return wire.response().status == 503
    except ConnectionError:
        return False


def refused_or_reset(wire: Wire) -> bool:
    try:
        return refused(wire)
    except ConnectionError:
        return True


def test_connections_of_the_whole_server_have_a_limit(serve: Serve, record: Path) -> None:
    server = serve(workers=2, limit_connections=5, park_after=0.2)
    with Crowd(server) as crowd:
        kept = [crowd.kept() for _ in range(5)]
        many = [crowd.wire(request("/count?key=refused") * 2) for _ in range(80)]
        assert refused_or_reset(crowd.wire()), (
            "of so many at once not all are waited for until they have read it"
        )
        assert sum(was_told(wire) for wire in many) >= 16, "but most of the first are"
        assert [wire.get("/").status for wire in kept] == [200] * 5, "wherever they stand"
        kept[0].sock.close()
        eventually(lambda: not refused_or_reset(crowd.wire()), "one has gone")
    assert "count refused" not in recorded(record), "nothing that they asked was interpreted"
    eventually(lambda: reasons(server)["limit_connections"] >= 81, "each is counted")


def test_what_killed_processes_held_is_forgotten(serve: Serve) -> None:
    server = serve(workers=1, limit_connections=2, limit_streams=1, park_after=0)
    with Crowd(server) as crowd:
        crowd.kept()
        crowd.wire(request("/sse", EVENT_STREAM)).until(b"\n\n")
        assert refused(crowd.wire())
        for role in ("worker", "pool"):
            [pid] = pids(server, role)
            os.kill(pid, signal.SIGKILL)
        crowd.kept()
        eventually(lambda: can_stream(crowd), "a stream finds room")


def test_connections_of_one_client_have_a_limit_and_others_are_not_concerned(serve: Serve) -> None:
    """The client is who connects, or whom the PROXY header names."""
    server = serve(workers=2, limit_connections_per_client=3, proxy_protocol="auto")
    with Crowd(server) as crowd:
        kept = [crowd.kept() for _ in range(3)]
        assert refused(crowd.wire())
        for client in ("10.9.0.1", "10.9.0.2"):
            header = f"PROXY TCP4 {client} 10.0.0.1 1000 80\r\n".encode()
            assert [refused(crowd.wire(header)) for _ in range(4)] == [False, False, False, True]
        kept[0].sock.close()
        eventually(lambda: not refused(crowd.wire()), "one has gone")
        assert not refused(crowd.enter_context(from_address(server, "127.0.0.9")))
    eventually(lambda: reasons(server)["limit_client"] >= 3, "each is counted")


def from_address(server: LiveServer, address: str) -> Wire:
    return Wire(server.host, server.port, source=address)


def test_requests_in_progress_have_a_limit_which_streams_do_not_touch(serve: Serve) -> None:
    server = serve(workers=2, limit_concurrency=3)
    with Crowd(server) as crowd:
        for _ in range(3):
            crowd.wire(request("/sse", EVENT_STREAM)).until(b"\n\n")
        crowd.kept()
        running = [crowd.wire(request("/until-disconnect")) for _ in range(3)]
        eventually(lambda: refused(crowd.wire()), "all three run")
        assert refused(crowd.wire())
        running[0].sock.close()
        eventually(lambda: not refused(crowd.wire()), "one has ended")
    eventually(lambda: reasons(server)["limit_concurrency"] >= 2, "each is counted")


def test_requests_that_wait_for_a_place_count_as_well(serve: Serve) -> None:
    server = serve(workers=1, worker_concurrency=1, limit_concurrency=2, queue_timeout=60, park_after=0)
    with Crowd(server) as crowd:
        running, waiting, third = (
            crowd.kept() for _ in range(3)
        )  # while a place is taken nobody is accepted
        running.send(request("/until-disconnect"))
        eventually(lambda: waiting_in(server) == 0 and is_busy_with(server, "/until-disconnect"), "it runs")
        waiting.send(request("/"))
        eventually(lambda: waiting_in(server) == 1, "it waits")
        assert refused(third)
        running.sock.close()
        assert waiting.response().status == 200


def waiting_in(server: LiveServer) -> int:
    """Requests that wait for a place."""
    processes = [one for generation in status_of(server).generations for one in generation.processes]
    return sum(one.report.waiting for one in processes if one.report is not None)


def test_a_request_waits_for_a_place_only_so_long(serve: Serve) -> None:
    server = serve(workers=1, worker_concurrency=1, queue_timeout=0.5)
    with Crowd(server) as crowd:
        kept = crowd.kept()
        running = crowd.wire(request("/until-disconnect"))
        eventually(lambda: refused(kept), "it has waited in vain")
        running.sock.close()
        crowd.kept()
    eventually(lambda: reasons(server)["queue_timeout"] == 1, "each is counted")


def test_streams_and_websockets_have_limits_of_their_own(serve: Serve) -> None:
    server = serve(workers=1, pools=2, limit_streams=2, limit_websockets=1)
    with Crowd(server) as crowd:
        streams = [crowd.wire(request("/sse", EVENT_STREAM)) for _ in range(2)]
        for stream in streams:
            stream.until(b"\n\n")
        answer = crowd.wire(request("/sse", EVENT_STREAM)).response()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        with connect(f"{server.ws_url}/ws") as websocket:
            websocket.send("1")
            assert websocket.recv(timeout=DEADLINE) == "1"
            answer = crowd.wire(upgrade("/ws")).response()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            crowd.kept()
            websocket.send("2")
            assert websocket.recv(timeout=DEADLINE) == "2"
        streams[0].sock.close()
        eventually(lambda: can_stream(crowd), "a stream has ended")
        eventually(lambda: can_upgrade(server), "the WebSocket has ended")
    eventually(lambda: {"limit_streams", "limit_websockets"} <= {*reasons(server)}, "each is counted")


def can_stream(crowd: Crowd) -> bool:
    return crowd.wire(request("/sse?n=1", EVENT_STREAM)).response().status == 200


def can_upgrade(server: LiveServer) -> bool:
    try:
        with connect(f"{server.ws_url}/ws"):
            return True
    except InvalidStatus:
        return False
