"""A pool on a loop of the test: what it runs, refuses, parks and ends."""

import socket

import pytest
from structlog.testing import capture_logs

from hsrv.asyncpool.pool import AsyncPool
from hsrv.common.terms import EndReason
from hsrv.http.states import State
from hsrv.ipc.messages import (
    ConnectionHandoff,
    Handoff,
    ParkedHandoff,
    RequestHandoff,
    StreamingHandoff,
    WebSocketHandoff,
)
from tests.unit.serving.inmemory import DRAIN, GET, MOVE, ORIGIN, TRACE, Serving, head_of, serving

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def request(path: str, *fields: str) -> StreamingHandoff:
    return StreamingHandoff(origin=ORIGIN, head=head_of(path, *fields), buffered=b"", trace=TRACE)


def websocket() -> WebSocketHandoff:
    return WebSocketHandoff(origin=ORIGIN, head=head_of("/ws", *UPGRADE), buffered=b"", trace=TRACE)


def hand_over(served: Serving[AsyncPool], message: Handoff) -> socket.socket:
    return served.send(served.handoffs[0], message)


def begun(served: Serving[AsyncPool], message: Handoff, expected: bytes = b"data: 1") -> socket.socket:
    client = hand_over(served, message)
    served.read(client, expected)
    return client


def test_a_stream_runs_once_and_its_connection_goes_back_when_it_has_ended() -> None:
    with serving(AsyncPool, park_after=0.0) as served:
        client = begun(served, request("/events"))
        assert served.report().running == 1
        assert list(served.report().streams) == ["/events"]
        served.app.go.set()
        served.read(client, b"done")
        message, _ = served.packet(served.adopted[1])
        assert isinstance(message, ConnectionHandoff)
        assert message.origin.requests_served == 2
        assert served.app.calls == ["/events"]


def test_what_was_read_of_the_next_request_goes_back_with_the_connection() -> None:
    with serving(AsyncPool) as served:
        message = StreamingHandoff(origin=ORIGIN, head=head_of("/hello"), buffered=GET, trace=TRACE)
        served.read(hand_over(served, message), b"done")
        back, _ = served.packet(served.adopted[1])
        assert isinstance(back, RequestHandoff)
        assert back.head.path == "/hello"
        assert served.app.calls == ["/hello"], "no second request runs in a pool"


def test_an_idle_connection_is_parked_until_its_client_speaks() -> None:
    with serving(AsyncPool) as served:
        client = hand_over(served, ParkedHandoff(origin=ORIGIN, deadline=served.loop.time() + 60))
        served.until(lambda: served.report().parked == 1)
        client.sendall(GET)
        message, _ = served.packet(served.adopted[1])
        assert isinstance(message, RequestHandoff)
        assert message.head.path == "/hello"
        assert served.report().parked == 0


def test_a_websocket_is_accepted_and_counted() -> None:
    with serving(AsyncPool) as served:
        begun(served, websocket(), b" 101 ")
        report = served.report()
        assert (report.running, report.connections, report.handoffs_received) == (1, 1, 1)


@pytest.mark.parametrize(
    ("options", "message", "reason"),
    [
        ({"limit_streams": 1}, request("/events"), EndReason.LIMIT_STREAMS),
        ({"limit_websockets": 1}, websocket(), EndReason.LIMIT_WEBSOCKETS),
    ],
    ids=["streams", "websockets"],
)
def test_over_a_limit_the_next_one_gets_503(
    options: dict[str, int], message: Handoff, reason: EndReason
) -> None:
    with serving(AsyncPool, **options) as served:
        first = hand_over(served, message)
        served.until(lambda: served.app.calls)
        refused = hand_over(served, message)
        assert b"retry-after: 1" in served.read(refused, b"Unavailable\n")
        assert served.report().ended == {str(reason): 1}
        first.close()
        refused.close()
        served.until(lambda: served.report().connections == 0)
        hand_over(served, message)
        served.until(lambda: len(served.app.calls) == 2)


def test_a_parked_connection_makes_room_for_a_stream() -> None:
    with serving(AsyncPool) as served:
        served.role.host.most_connections = 1
        parked = hand_over(served, ParkedHandoff(origin=ORIGIN, deadline=served.loop.time() + 60))
        served.until(lambda: served.report().parked == 1)
        for one in served.role._lot._parked:
            one.since = 0.0
        begun(served, request("/events"))
        served.read(parked, b"")


def test_a_full_pool_receives_nothing_for_a_time_and_then_refuses() -> None:
    with serving(AsyncPool, handoff_timeout=0.1) as served:
        served.role.host.most_connections = 1
        begun(served, request("/events"))
        began = served.loop.time()
        assert b" 503 " in served.read(hand_over(served, request("/events")), b"Unavailable")
        assert served.loop.time() - began >= 0.1


def test_a_claim_that_was_none_is_told_to_the_workers() -> None:
    with serving(AsyncPool) as served:
        served.read(hand_over(served, request("/hello", "Accept: text/event-stream")), b"done")
        served.do(served.role.sweep, served.loop.time())
        assert served.learned == [("/hello", False)]


def test_the_call_that_blocks_the_loop_is_named() -> None:
    with serving(AsyncPool) as served, capture_logs() as logs:
        hand_over(served, request("/wait"))
        served.until(lambda: served.app.calls)
        [connection] = served.role.host.connections
        assert connection.exchange is not None
        connection.exchange.task = None  # as in its first step
        served.role.rescue()
        assert [one["path"] for one in logs] == ["/wait"]


# drain


def test_a_drain_ends_streams_after_their_grace_and_the_pool_with_the_last() -> None:
    with serving(AsyncPool) as served:
        client = begun(served, request("/events"))
        served.do(served.role.begin_drain, MOVE)
        served.do(served.role.continue_drain, MOVE, MOVE.stream_grace - 0.1)
        assert served.report().running == 1
        served.do(served.role.continue_drain, MOVE, MOVE.stream_grace + 1)
        served.app.go.set()
        served.until(lambda: served.report().running == 0)
        client.close()
        assert not served.is_over(), "workers may still hand over"
        served.until(lambda: not served.role.busy())
        served.do(served.role.finish)
        assert served.is_over()


def test_a_drain_sends_parked_connections_to_the_workers_or_closes_them() -> None:
    for params in (MOVE, DRAIN):
        with serving(AsyncPool) as served:
            client = hand_over(served, ParkedHandoff(origin=ORIGIN, deadline=served.loop.time() + 60))
            served.until(lambda: served.report().parked == 1)  # it is over within this turn
            served.do(served.role.begin_drain, params)
            if params.adopt:
                served.packet(served.adopted[1])
            else:
                served.read(client, b"")


def test_a_websocket_is_closed_with_1012() -> None:
    with serving(AsyncPool) as served:
        client = begun(served, websocket(), b"\r\n\r\n")
        served.do(served.role.begin_drain, MOVE)
        served.do(served.role.continue_drain, MOVE, MOVE.stream_grace + 1)
        assert served.read(client, b"service restart")[2:4] == (1012).to_bytes(2, "big")


def test_what_does_not_end_is_cut_when_no_worker_hands_over_any_more() -> None:
    with serving(AsyncPool) as served:
        begun(served, request("/events"))
        served.do(served.role.begin_drain, MOVE)
        served.do(served.role.continue_drain, MOVE, 60.0)
        assert not served.is_over()
        served.do(served.role.finish)
        served.do(served.role.continue_drain, MOVE, 60.0)
        assert served.is_over()
        assert all(one.state is State.CLOSED for one in served.role.host.connections)
