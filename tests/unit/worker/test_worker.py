"""A worker's decisions, on a loop of the test: what it serves, passes on, moves and refuses."""

import socket
import time
from threading import Event, Thread

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from hsrv.board.layout import Count
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.terms import EndReason
from hsrv.http.states import State
from hsrv.ipc.channel import ChannelFull
from hsrv.ipc.messages import (
    ConnectionHandoff,
    ParkedHandoff,
    RequestHandoff,
    StreamingHandoff,
    Trace,
    WebSocketHandoff,
)
from hsrv.system.descriptors import IDLE_ENOUGH
from hsrv.worker import worker
from hsrv.worker.worker import Worker
from tests.unit.serving.inmemory import DRAIN, GET, MOVE, ORIGIN, TRACE, Serving, head_of, serving

DEADLINE = 10.0
WAIT = GET.replace(b"/hello", b"/wait")
EVENTS = b"GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def peek(client: socket.socket) -> bytes:
    try:
        return client.recv(1000, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


def running(served: Serving[Worker]) -> list[State]:
    return [connection.state for connection in served.role.host.connections]


def test_the_life_of_a_worker_is_spread_over_its_jitter() -> None:
    """Or all of them would be replaced at the same time."""
    lives = [worker._life(1000, 100) for _ in range(300)]
    assert min(lives) >= 1000
    assert max(lives) <= 1100
    assert len(set(lives)) > 20
    assert max(lives) - min(lives) > 50
    assert {worker._life(1000, 0) for _ in range(20)} == {1000}
    assert {worker._life(0, 100) for _ in range(20)} == {0}, "without a limit there is none"


def test_a_short_request_is_served_and_its_connection_stays() -> None:
    with serving(Worker) as served:
        client = served.connect()
        assert served.ask(client).startswith(b"HTTP/1.1 200")
        assert served.last_taken.accepted_at > 0
        assert served.ask(client).startswith(b"HTTP/1.1 200")
        assert running(served) == [State.IDLE]
        report = served.report()
        assert (report.accepted, report.connections, report.idle, report.running) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("request_", "kind"),
    [(EVENTS, StreamingHandoff), (UPGRADE, WebSocketHandoff)],
    ids=["events", "websocket"],
)
def test_what_is_a_stream_goes_to_the_pool_and_is_not_run_here(request_: bytes, kind: type) -> None:
    with serving(Worker) as served:
        client = served.connect(request_)
        message, sock = served.packet(served.handoffs[1])
        assert isinstance(message, kind)
        sock.sendall(b"hello from the pool")
        assert served.read(client, b"pool") == b"hello from the pool"
        assert served.app.calls == []
        assert served.report().handoffs_sent == 1


def test_without_a_pool_a_stream_is_answered_with_503_and_so_is_what_waits_in_the_channel() -> None:
    with serving(Worker) as served:
        queued = served.send(
            served.handoffs[0],
            StreamingHandoff(origin=ORIGIN, head=head_of("/events"), buffered=b"", trace=TRACE),
        )
        served.do(served.role.pool_available, False)
        client = served.connect(EVENTS)
        for one in (queued, client):
            assert b"retry-after: 1" in served.read(one, b"Unavailable\n")
        assert served.count(Count.HANDOFFS_REFUSED) == 2
        served.do(served.role.pool_available, True)
        served.connect(EVENTS)
        served.packet(served.handoffs[1])


def test_at_the_limit_requests_wait_in_order_for_a_place() -> None:
    with serving(Worker, worker_concurrency=1) as served:
        first, second = served.connect(), served.connect()
        served.ask(first)
        served.ask(second)
        first.sendall(WAIT)
        served.until(lambda: State.RUNNING in running(served))
        second.sendall(GET)
        served.until(lambda: State.WAITING in running(served))
        served.role.host.tell_board()
        assert served.report().waiting == 1
        served.app.go.set()
        served.read(first, b"done")
        served.read(second, b"done")


def test_a_request_that_waited_too_long_gets_503() -> None:
    with serving(Worker, worker_concurrency=1, queue_timeout=0.01) as served:
        first, second = served.connect(WAIT), served.connect()
        served.until(lambda: State.RUNNING in running(served))
        served.until(lambda: len(served.role.host.connections) == 1)
        served.role._acceptor.resume()
        served.until(lambda: len(served.role.host.connections) == 2)
        second.sendall(GET)
        served.until(lambda: State.WAITING in running(served))
        served.do(served.role.sweep, served.loop.time() + 1)
        assert b" 503 " in served.read(second, b"Unavailable")
        served.app.go.set()
        served.read(first, b"done")


def test_over_the_limit_of_requests_one_gets_503_at_once() -> None:
    with serving(Worker, limit_concurrency=1) as served:
        first = served.connect(WAIT)
        served.until(lambda: State.RUNNING in running(served))
        assert b" 503 " in served.read(served.connect(GET), b"Unavailable")
        assert served.report().ended[str(EndReason.LIMIT_CONCURRENCY)] == 1
        served.app.go.set()
        served.read(first, b"done")


def test_a_stream_that_nobody_announced_is_told_once_and_gives_its_place_back() -> None:
    with serving(Worker, worker_concurrency=1) as served, capture_logs() as logs:
        stream = served.connect(EVENTS.replace(b"Accept: text/event-stream\r\n", b""))
        served.read(stream, b"data: 1")
        assert served.learned == [("/events", True)]
        assert served.ask(served.connect()).startswith(b"HTTP/1.1 200"), "it holds no place"
        served.connect(GET.replace(b"/hello", b"/events"))
        message, _ = served.packet(served.handoffs[1])
        assert isinstance(message, StreamingHandoff)
        assert [one["event"] for one in logs].count("stream in a worker") == 1


def test_what_was_learned_to_be_no_stream_is_served_here() -> None:
    with serving(Worker) as served:
        served.role.learned([], ["/hello"])
        claim = GET.replace(b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\n\r\n")
        served.ask(served.connect(), claim)


# connections that move


def test_an_idle_connection_is_parked_and_a_fresh_one_is_not() -> None:
    with serving(Worker, park_after=5.0) as served:
        served.ask(served.connect())
        now = served.loop.time()
        served.do(served.role.sweep, now)
        assert running(served) == [State.IDLE]
        served.do(served.role.sweep, now + 6)
        message, _ = served.packet(served.handoffs[1])
        assert isinstance(message, ParkedHandoff)
        assert (served.report().parked, served.report().connections) == (1, 0)


def test_nothing_is_parked_without_a_pool_or_when_the_lot_refused_it() -> None:
    with serving(Worker, park_after=5.0) as served:
        served.send(served.adopted[0], ConnectionHandoff(origin=ORIGIN, buffered=b"", parkable=False))
        served.until(lambda: running(served))
        served.do(served.role.sweep, served.loop.time() + 6)
        assert running(served) == [State.IDLE]
        served.ask(served.connect())
        served.do(served.role.pool_available, False)
        served.do(served.role.sweep, served.loop.time() + 6)
        assert served.report().parked == 0


def test_an_adopted_connection_is_served_with_what_was_read_of_it() -> None:
    with serving(Worker) as served:
        client = served.send(served.adopted[0], ConnectionHandoff(origin=ORIGIN, buffered=GET[:10]))
        assert served.ask(client, GET[10:]).startswith(b"HTTP/1.1 200")
        assert served.report().adopted == 1


def test_a_blocked_loop_gives_away_connections_between_two_requests_and_no_others() -> None:
    with serving(Worker) as served:
        busy, idle = served.connect(), served.connect()
        served.ask(busy)
        served.ask(idle)
        busy.sendall(WAIT)
        served.until(lambda: State.RUNNING in running(served))
        idle.sendall(GET)  # and its loop doesn't turn any more
        served.role.rescue()
        message, sock = served.packet(served.handoffs[1])
        assert isinstance(message, ParkedHandoff)
        assert sock.recv(1000) == GET
        assert running(served) == [State.RUNNING]
        assert served.count(Count.RESCUED) == 1
        served.app.go.set()
        served.read(busy, b"done")


def test_a_connection_that_was_answered_just_before_the_loop_was_blocked_is_given_away_too() -> None:
    """Its response waited for the end of the turn, and the other thread has sent it."""
    blocked, go = Event(), Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/block":
            blocked.set()
            go.wait(DEADLINE)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    with serving(Worker) as served:
        host = served.role.host
        host.app = app
        finished: list[str] = []
        host.on_finished = lambda exchange, _: finished.append(exchange.head.path)
        first, second = served.connect(), served.connect()
        served.until(lambda: len(host.connections) == 2)
        for path in (b"/fast", b"/block"):
            for _ in range(100):
                host.call_times.took(path, 0.0)

        def rescue() -> None:
            blocked.wait(DEADLINE)
            while b"done" not in peek(first):
                time.sleep(0.001)
            served.role.rescue()
            go.set()

        rescuer = Thread(target=rescue)
        rescuer.start()
        first.sendall(GET.replace(b"/hello", b"/fast"))
        second.sendall(GET.replace(b"/hello", b"/block"))
        served.read(second, b"done")
        rescuer.join()
        assert served.count(Count.RESCUED) == 1
        served.until(lambda: sorted(finished) == ["/block", "/fast"])
        message, sock = served.packet(served.handoffs[1])
        assert isinstance(message, ParkedHandoff)
        first.sendall(GET)
        served.until(lambda: peek(sock) == GET)


def test_without_a_pool_they_go_to_other_workers() -> None:
    with serving(Worker) as served:
        served.ask(served.connect())
        served.role._adoptions.close()
        served.role._moves.pool_available = False
        served.role.rescue()
        assert isinstance(served.packet(served.adopted[1])[0], ConnectionHandoff)


def test_while_the_handoff_channel_is_full_a_rescue_moves_nothing_and_loses_nothing() -> None:
    with serving(Worker) as served:
        client = served.connect()
        served.ask(client)
        for size in (30_000, 1):
            with pytest.raises(ChannelFull):
                while True:
                    served.handoffs[0].send(b"x" * size)
        thread = Thread(target=served.role.rescue)  # it comes from the thread that watches the loop
        thread.start()
        thread.join()
        assert served.count(Count.RESCUED) == 0
        served.ask(client)


def test_of_idle_connections_those_that_were_idle_for_longest_are_closed() -> None:
    with serving(Worker) as served:
        clients = [served.connect() for _ in range(3)]
        for client in (*clients, clients[0]):
            time.sleep(0.002)  # the clock of a loop may go by milliseconds
            served.ask(client)
        for connection in served.role.host.connections:
            connection.deadline -= IDLE_ENOUGH  # so long ago
        room = worker.IdleRoom(served.role.host)
        assert served.do(room.make_room, 2) == 2
        for client in clients[1:]:
            served.read(client, b"")
        served.ask(clients[0])


def test_what_has_just_been_answered_is_not_idle_enough() -> None:
    with serving(Worker) as served:
        client = served.connect()
        served.ask(client)
        assert served.do(worker.IdleRoom(served.role.host).make_room, 1) == 0
        served.ask(client)


def test_what_newer_code_has_served_goes_back_and_nothing_more_is_adopted() -> None:
    with serving(Worker) as served:
        newer = ORIGIN.__class__(client=None, server=None, accepted_at=0.0, generation=2)
        served.send(
            served.adopted[0], ConnectionHandoff(origin=newer, buffered=b"x", deadline=served.loop.time())
        )
        served.until(lambda: not served.role._adoptions.is_open)
        message, _ = served.packet(served.adopted[1])
        assert isinstance(message, ConnectionHandoff)
        assert (message.origin.generation, message.buffered) == (2, b"x")
        assert served.report().adopted == 0


# drain


def test_a_drain_that_moves_gives_idle_connections_away_and_others_when_they_are_done() -> None:
    with serving(Worker) as served:
        idle, busy = served.connect(), served.connect()
        served.ask(idle)
        served.ask(busy)
        busy.sendall(WAIT)
        served.until(lambda: State.RUNNING in running(served))
        served.do(served.role.begin_drain, MOVE)
        served.packet(served.adopted[1])
        assert not served.is_over()
        served.app.go.set()
        answer = served.read(busy, b"done")
        assert b"connection: close" not in answer.lower()
        served.packet(served.adopted[1])
        assert served.is_over()


def test_a_drain_that_stops_closes_idle_connections_and_finishes_what_runs() -> None:
    with serving(Worker) as served:
        idle, busy = served.connect(), served.connect()
        served.ask(idle)
        served.ask(busy)
        busy.sendall(WAIT)
        served.until(lambda: State.RUNNING in running(served))
        queued = socket.create_connection(served.address, timeout=10)
        served.stack.enter_context(queued)
        queued.sendall(GET)
        served.do(served.role.begin_drain, DRAIN)
        served.read(idle, b"")
        queued.setblocking(False)
        served.read(queued, b"done")
        served.app.go.set()
        served.read(busy, b"done")
        served.until(served.is_over)


def test_at_the_end_of_its_budget_a_drain_cuts_what_is_left() -> None:
    with serving(Worker) as served:
        served.connect(WAIT)
        served.until(lambda: State.RUNNING in running(served))
        served.do(served.role.begin_drain, DRAIN)
        assert not served.is_over()
        with capture_logs() as logs:
            served.do(served.role.continue_drain, DRAIN, DRAIN.graceful_timeout)
        assert served.is_over()
        assert [one["event"] for one in logs].count("connection cut") == 1


def test_a_worker_that_is_worn_out_says_so_and_once_again_after_as_many_requests() -> None:
    with serving(Worker, worker_max_requests=2) as served:
        told: list[str] = []
        served.role.on_worn_out = lambda reason, _why: told.append(reason)
        client = served.connect()
        for expected in ([], ["requests"], ["requests"], ["requests", "requests"]):
            served.ask(client)
            served.until(lambda: True)
            assert told == expected


# requests that a pool has read


def returned(path: str, received_at: float = 0.0, buffered: bytes = b"", **origin: int) -> RequestHandoff:
    trace = Trace(request_id="r", received_at=received_at)
    return RequestHandoff(
        origin=replace(ORIGIN, **origin), head=head_of(path), buffered=buffered, trace=trace
    )


def test_a_request_that_a_pool_read_runs_and_what_follows_it_too() -> None:
    with serving(Worker) as served:
        client = served.send(served.adopted[0], returned("/hello", time.monotonic(), GET))
        assert served.read(client, b"done").startswith(b"HTTP/1.1 200")
        served.until(lambda: len(served.app.calls) == 2)
        assert served.count(Count.ADOPTED) == 1
        assert served.last_taken.adopted_at > 0


def test_one_that_waited_longer_than_the_queue_timeout_gets_503() -> None:
    with serving(Worker, queue_timeout=5) as served:
        client = served.send(served.adopted[0], returned("/hello", time.monotonic() - 5.1))
        assert served.read(client, b"retry-after: 1").startswith(b"HTTP/1.1 503")
        assert served.app.calls == []
        assert served.report().ended[str(EndReason.QUEUE_TIMEOUT)] == 1


def test_one_that_is_a_stream_by_now_goes_to_the_pool() -> None:
    with serving(Worker) as served:
        served.do(served.role.learned, ["/hello"], [])
        served.send(served.adopted[0], returned("/hello"))
        assert isinstance(served.packet(served.handoffs[1])[0], StreamingHandoff)


def test_one_of_a_client_that_newer_code_has_served_is_put_back() -> None:
    with serving(Worker) as served:
        served.send(served.adopted[0], returned("/hello", generation=2))
        message, _ = served.packet(served.adopted[1])
        assert isinstance(message, RequestHandoff)
        assert served.app.calls == []


# calls that take long

LONG = GET.replace(b"/hello", b"/long")


def test_after_a_long_call_the_pool_reads_the_next_request() -> None:
    with serving(Worker, park_after=60) as served:
        served.ask(served.connect(), LONG)
        message, _ = served.packet(served.handoffs[1])
        assert isinstance(message, ParkedHandoff)
        assert message.deadline > served.loop.time() + 60
        client = served.connect()
        served.ask(client)
        served.ask(client)
        assert len(running(served)) == 1, "those of short calls stay"


def test_before_a_long_call_the_others_leave_with_what_was_read_of_them() -> None:
    with serving(Worker, park_after=60) as served:
        served.ask(served.connect(), LONG)
        served.packet(served.handoffs[1])
        begun, idle, busy = (served.connect() for _ in range(3))
        served.ask(idle)
        begun.sendall(GET[:9])
        served.until(lambda: State.READING in running(served))
        busy.sendall(LONG)
        left = [served.packet(served.handoffs[1])[0] for _ in range(3)]
        assert all(isinstance(one, ParkedHandoff) for one in left)
        assert {one.buffered for one in left if isinstance(one, ParkedHandoff)} == {b"", GET[:9]}
        served.read(busy, b"done")
        assert served.app.calls == ["/long", "/hello", "/long"]


def test_a_call_that_waits_is_not_long_and_a_client_that_reads_slowly_makes_none() -> None:
    with serving(Worker, park_after=60) as served:
        client = served.connect()
        client.sendall(WAIT)
        served.until(lambda: served.app.calls == ["/wait"])
        time.sleep(0.03)
        served.app.go.set()
        served.read(client, b"done")
        assert not served.role._long_calls.any_known
        assert len(running(served)) == 1


@pytest.mark.parametrize("reason", ["park_after", "pool"])
def test_no_connection_leaves_for_a_long_call_where_no_lot_takes_it(reason: str) -> None:
    with serving(Worker, park_after=0.0 if reason == "park_after" else 60.0) as served:
        if reason == "pool":
            served.do(served.role.pool_available, False)
        client = served.connect()
        for _ in range(2):
            served.ask(client, LONG)
        assert len(running(served)) == 1
        assert served.count(Count.PARKED) == 0
