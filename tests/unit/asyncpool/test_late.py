"""A pool accepts what no worker does, reads heads, runs what is a stream, and passes everything else on."""

import asyncio
import socket
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from hsrv.asyncpool import returns
from hsrv.asyncpool.lateaccept import LATE_BATCH
from hsrv.asyncpool.patience import PATIENCE
from hsrv.asyncpool.pool import HEADS_BATCH, AsyncPool
from hsrv.board.layout import Count, Gauge
from hsrv.common.terms import EndReason, ProxyProtocol
from hsrv.http.states import State
from hsrv.ipc.channel import ChannelFull
from hsrv.ipc.messages import ConnectionHandoff, ParkedHandoff, RequestHandoff, Trace
from tests.unit.serving.inmemory import DRAIN, GET, MOVE, ORIGIN, Serving, head_of, serving

EVENTS = b"GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
UNAVAILABLE = b"HTTP/1.1 503 "


def states(served: Serving[AsyncPool]) -> list[State]:
    return [connection.state for connection in served.role.host.connections]


def fill(served: Serving[AsyncPool]) -> None:
    """The adopt channel, with what doesn't decode."""
    for size in (30_000, 1):
        with suppress(ChannelFull):
            while True:
                served.adopted[0].send(b"x" * size)


def empty(served: Serving[AsyncPool]) -> None:
    while (packet := served.adopted[1].receive()) is not None:
        packet.close()


# new connections


def test_a_request_that_no_worker_accepts_goes_to_the_first_that_is_free() -> None:
    with serving(AsyncPool) as served:
        before = time.monotonic()
        served.connect(GET + b"more")
        message, _ = served.packet(served.adopted[1])
        assert isinstance(message, RequestHandoff)
        assert (message.head.path, message.buffered) == ("/hello", b"more")
        assert before + PATIENCE <= message.trace.received_at <= time.monotonic()
        assert message.origin.client is not None
        assert served.app.calls == [], "it runs nothing that a worker should"
        assert (served.count(Count.ACCEPTED), served.count(Count.HANDOFFS_RETURNED)) == (1, 1)
        assert served.report().connections == 0


@pytest.mark.parametrize(
    ("said", "expected"), [(EVENTS, b"data: 1"), (UPGRADE, b" 101 "), (EVENTS + GET, b"data: 1")]
)
def test_a_stream_begins_here_at_once(said: bytes, expected: bytes) -> None:
    with serving(AsyncPool) as served:
        served.read(served.connect(said), expected)
        assert len(served.app.calls) == 1
        assert served.report().running == 1


def test_while_workers_accept_it_leaves_everything_to_them() -> None:
    with serving(AsyncPool) as served:
        served.last_taken.accepted_at = time.monotonic() + 0.3
        client = served.connect(EVENTS)
        end = time.monotonic() + 10 * PATIENCE
        while time.monotonic() < end:
            served.turn_once()
        assert served.count(Count.ACCEPTED) == 0
        served.read(client, b"data: 1")


def per_turn(served: Serving[AsyncPool], count: Count, until: int) -> int:
    """The most that a counter grows in one turn of the loop, until it has this value."""
    counts = [served.count(count)]

    async def turns() -> None:
        async with asyncio.timeout(10):
            while counts[-1] < until:
                await asyncio.sleep(0)
                counts.append(served.count(count))

    served.loop.run_until_complete(turns())
    return max(after - before for before, after in pairwise(counts))


def test_a_storm_is_accepted_and_read_in_small_parts() -> None:
    with serving(AsyncPool) as served:
        clients = [served.connect() for _ in range(5 * HEADS_BATCH)]
        assert per_turn(served, Count.ACCEPTED, len(clients)) <= LATE_BATCH
        for client in clients:
            client.sendall(GET)
        assert per_turn(served, Count.HANDOFFS_RETURNED, len(clients)) <= HEADS_BATCH


def test_the_paths_of_streams_are_those_that_workers_know() -> None:
    with serving(AsyncPool, no_stream=("/events",), stream=("/hello",)) as served:
        served.read(served.connect(GET), b"done")
        served.connect(EVENTS)
        message, _ = served.packet(served.adopted[1])
        assert isinstance(message, RequestHandoff)
        served.do(served.role.learned, ["/long"], [])
        served.read(served.connect(GET.replace(b"/hello", b"/long")), b"done")
        assert served.app.calls == ["/hello", "/long"]


def test_what_only_claims_to_be_a_stream_goes_to_a_worker() -> None:
    with serving(AsyncPool) as served:
        served.do(served.role.learned, [], ["/events"])
        served.connect(EVENTS)
        assert isinstance(served.packet(served.adopted[1])[0], RequestHandoff)


@pytest.mark.parametrize(
    ("options", "said", "expected"),
    [
        ({}, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"HTTP/1.1 400 "),
        (
            {},
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b" 400 ",
        ),
        ({"limit_request_line": 30}, b"GET /" + b"a" * 99 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 414 "),
        ({"limit_connections": 1}, GET, UNAVAILABLE),
        ({"limit_connections_per_client": 1}, GET, UNAVAILABLE),
        ({"limit_streams": 1}, EVENTS, UNAVAILABLE),
        ({"limit_concurrency": 1}, EVENTS, UNAVAILABLE),
    ],
)
def test_each_rule_holds_here_too(options: dict[str, Any], said: bytes, expected: bytes) -> None:
    with serving(AsyncPool, stream=("/wait",), **options) as served:
        if options and "limit_request_line" not in options:
            served.connect(GET.replace(b"/hello", b"/wait") if "limit_concurrency" in options else EVENTS)
            served.until(lambda: served.app.calls)
        served.read(served.connect(said), expected)
        assert len(served.app.calls) < 2


def test_the_limit_of_websockets_holds() -> None:
    with serving(AsyncPool, limit_websockets=1) as served:
        served.read(served.connect(UPGRADE), b" 101 ")
        served.read(served.connect(UPGRADE), UNAVAILABLE)


def test_what_is_read_here_is_no_stream_to_the_limits() -> None:
    with serving(AsyncPool, limit_streams=2) as served:
        served.connect(b"GET")
        served.until(lambda: states(served) == [State.READING])
        for _ in range(2):
            served.read(served.connect(EVENTS), b"data: 1")
        served.read(served.connect(EVENTS), UNAVAILABLE)


def test_a_proxy_header_is_read_here_and_its_address_goes_with_the_request() -> None:
    with serving(AsyncPool, proxy_protocol=ProxyProtocol.V1, proxy_protocol_from=("127.0.0.1",)) as served:
        served.connect(b"PROXY TCP4 192.0.2.7 192.0.2.8 7 80\r\n" + GET)
        message, _ = served.packet(served.adopted[1])
        assert message.origin.client == ("192.0.2.7", 7)


def test_the_limit_of_a_client_holds_for_the_one_behind_a_proxy() -> None:
    with serving(
        AsyncPool,
        proxy_protocol=ProxyProtocol.V1,
        proxy_protocol_from=("127.0.0.1",),
        limit_connections_per_client=1,
    ) as served:
        header = b"PROXY TCP4 192.0.2.7 192.0.2.8 7 80\r\n"
        served.read(served.connect(header + EVENTS), b"data: 1")
        served.read(served.connect(header + EVENTS), UNAVAILABLE)
        served.read(served.connect(header.replace(b".7 ", b".9 ") + EVENTS), b"data: 1")


def test_a_head_that_comes_slowly_is_timed() -> None:
    with serving(AsyncPool, header_timeout=5) as served:
        client = served.connect(b"GET / HTTP/1.1\r\n")
        served.until(lambda: states(served) == [State.READING])
        served.do(served.role.sweep, served.loop.time() + 6)
        served.read(client, b"HTTP/1.1 408 ")


# connections between two requests


def test_a_parked_connection_whose_head_was_half_read_is_read_on() -> None:
    with serving(AsyncPool) as served:
        parked = ParkedHandoff(origin=ORIGIN, deadline=served.loop.time() + 60, buffered=EVENTS[:20])
        client = served.send(served.handoffs[0], parked)
        client.sendall(EVENTS[20:])
        served.read(client, b"data: 1")
        assert served.app.calls == ["/events"]


def test_one_that_asks_for_a_stream_stays_here() -> None:
    with serving(AsyncPool) as served:
        parked = ParkedHandoff(origin=ORIGIN, deadline=served.loop.time() + 60)
        client = served.send(served.handoffs[0], parked)
        served.until(lambda: served.report().parked == 1)
        client.sendall(EVENTS)
        served.read(client, b"data: 1")
        assert served.report().parked == 0
        served.app.go.set()
        served.read(client, b"done")
        served.until(lambda: served.report().parked == 1)


def test_requests_after_a_stream_are_answered_in_order() -> None:
    with serving(AsyncPool) as served:
        client = served.connect(EVENTS + EVENTS + GET)
        served.read(client, b"data: 1")
        served.app.go.set()
        message, sock = served.packet(served.adopted[1])
        assert isinstance(message, RequestHandoff)
        assert served.app.calls == ["/events", "/events"]
        sock.close()


# no worker receives


def test_one_that_no_worker_receives_in_time_gets_503() -> None:
    with serving(AsyncPool, queue_timeout=20) as served:
        late, early = (
            served.send(
                served.adopted[0],
                RequestHandoff(
                    origin=ORIGIN,
                    head=head_of("/hello"),
                    buffered=b"",
                    trace=Trace(request_id="r", received_at=time.monotonic() - seconds),
                ),
            )
            for seconds in (21, 15)
        )
        sweep_at(served, served.loop.time())
        sweep_at(served, served.loop.time() + 1.1)
        assert b"retry-after: 1" in served.read(late, b"\r\n\r\n")
        assert served.report().ended[str(EndReason.QUEUE_TIMEOUT)] == 1
        assert isinstance(served.packet(served.adopted[1])[0], RequestHandoff), "the other has time"
        with pytest.raises(BlockingIOError):
            early.recv(1)
        assert served.app.calls == []


def sweep_at(served: Serving[AsyncPool], now: float) -> None:
    served.do(served.role.sweep, now)


def test_what_still_has_time_stays_in_the_channel_in_its_order() -> None:
    count = 3 * returns.RECALL_BATCH
    with serving(AsyncPool, queue_timeout=30) as served:
        for number in range(count):
            trace = Trace(request_id="r", received_at=time.monotonic())
            sent = RequestHandoff(origin=ORIGIN, head=head_of(f"/{number}"), buffered=b"", trace=trace)
            served.send(served.adopted[0], sent)
        sweep_at(served, served.loop.time())
        sweep_at(served, served.loop.time() + 1.1)
        served.until(lambda: not served.role._returns._desk.held)
        paths = []
        for _ in range(count):
            message, _ = served.packet(served.adopted[1])
            assert isinstance(message, RequestHandoff)
            paths.append(message.head.path)
        assert paths == [f"/{number}" for number in range(count)]


def test_while_workers_receive_it_looks_at_nothing() -> None:
    with serving(AsyncPool, queue_timeout=30) as served:
        served.send(served.adopted[0], ConnectionHandoff(origin=ORIGIN, buffered=b""))
        sweep_at(served, served.loop.time())
        served.last_taken.adopted_at = served.loop.time() + 1
        sweep_at(served, served.loop.time() + 1.1)
        assert isinstance(served.packet(served.adopted[1])[0], ConnectionHandoff)


def test_an_idle_connection_that_no_worker_adopts_is_read_here() -> None:
    with serving(AsyncPool) as served:
        client = served.send(served.adopted[0], ConnectionHandoff(origin=ORIGIN, buffered=EVENTS[:9]))
        client.sendall(EVENTS[9:])
        sweep_at(served, served.loop.time())
        sweep_at(served, served.loop.time() + 1.1)
        served.read(client, b"data: 1")


def test_a_full_channel_makes_them_wait_in_order_and_unread() -> None:
    with serving(AsyncPool) as served:
        fill(served)
        clients = []
        for number in range(3):
            clients.append(served.connect(GET.replace(b"/hello", b"/%d" % number) + b"x"))
            served.until(lambda: states(served).count(State.WAITING) == len(clients))
        assert not any(connection.conn.reading for connection in served.role.host.connections)
        served.do(served.role.tell_board)
        assert served.gauge(Gauge.WAITING) == 3
        empty(served)
        for number in range(3):
            message, _ = served.packet(served.adopted[1])
            assert isinstance(message, RequestHandoff)
            assert (message.head.path, message.buffered) == (f"/{number}", b"x")


def test_those_that_wait_are_bounded_in_number_and_in_time() -> None:
    with serving(AsyncPool, backlog=2, queue_timeout=60) as served:
        fill(served)
        first = [served.connect(GET) for _ in range(2)]
        served.until(lambda: states(served).count(State.WAITING) == 2)
        served.read(served.connect(GET), UNAVAILABLE)
        sweep_at(served, served.loop.time() + 61)
        for client in first:
            served.read(client, UNAVAILABLE)
        served.read(served.connect(EVENTS), b"data: 1")


# drain


def test_at_a_reload_what_is_read_here_goes_to_the_new_workers() -> None:
    with serving(AsyncPool) as served:
        served.connect(GET[:9])
        served.until(lambda: states(served) == [State.READING])
        served.do(served.role.begin_drain, MOVE)
        message, _ = served.packet(served.adopted[1])
        assert isinstance(message, ConnectionHandoff)
        assert message.buffered == GET[:9]
        served.do(served.role.finish)
        served.until(served.is_over)


def test_at_a_reload_what_waits_in_the_channel_stays_there() -> None:
    with serving(AsyncPool) as served:
        served.connect(GET)
        served.until(lambda: served.count(Count.HANDOFFS_RETURNED) == 1)
        served.do(served.role.begin_drain, MOVE)
        served.do(served.role.finish)
        served.until(served.is_over)
        assert isinstance(served.packet(served.adopted[1])[0], RequestHandoff)


def test_after_a_drain_has_begun_nothing_is_accepted() -> None:
    with serving(AsyncPool) as served:
        served.do(served.role.begin_drain, MOVE)
        with suppress(ConnectionError):
            served.connect(GET)
        end = time.monotonic() + 5 * PATIENCE
        while time.monotonic() < end:
            served.turn_once()
        assert served.count(Count.ACCEPTED) == 0


def test_at_a_stop_what_no_worker_will_run_gets_503() -> None:
    with serving(AsyncPool) as served:
        queued = served.connect(GET)
        served.until(lambda: served.count(Count.HANDOFFS_RETURNED) == 1)
        packet = served.adopted[1].receive()
        fill(served)
        waiting, begun = served.connect(GET), served.connect(GET[:9])
        served.until(lambda: sorted(state.name for state in states(served)) == ["READING", "WAITING"])
        empty(served)
        assert packet is not None
        with packet:
            served.adopted[0].send(packet.payload, *packet.fds)
        served.do(served.role.begin_drain, DRAIN)
        served.read(waiting, UNAVAILABLE)
        begun.sendall(GET[9:])
        served.read(begun, UNAVAILABLE)
        served.do(served.role.finish)
        served.read(queued, UNAVAILABLE)
        for client in (waiting, begun, queued):
            client.shutdown(socket.SHUT_WR)
        served.until(served.is_over)


def test_a_packet_that_does_not_decode_is_dropped_and_counted() -> None:
    with serving(AsyncPool) as served:
        ours, client = served.pair()
        with ours:
            served.adopted[0].send(b"nonsense", ours.fileno())
        sweep_at(served, served.loop.time())
        sweep_at(served, served.loop.time() + 1.1)
        served.read(client, b"")
        assert served.count(Count.UNDECODABLE) == 1
