"""Requests that wait for room in the handoff channel."""

from collections.abc import Iterator

import pytest

from hsrv.http.states import State
from hsrv.ipc.channel import ChannelFull
from hsrv.ipc.messages import StreamingHandoff
from hsrv.worker.worker import Worker
from tests.unit.serving.inmemory import Serving, serving

EVENTS = b"GET /events?%d HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"


@pytest.fixture
def full() -> Iterator[Serving[Worker]]:
    """A worker whose handoff channel is full of packets without a meaning."""
    with serving(Worker, handoff_timeout=3.0) as served:
        for size in (30_000, 1):
            with pytest.raises(ChannelFull):
                while True:
                    served.handoffs[0].send(b"x" * size)
        yield served


def drain(served: Serving[Worker]) -> list[bytes]:
    """The queries of the requests in the channel, in order."""
    found = []
    while (packet := served.handoffs[1].receive()) is not None:
        with packet:
            if not packet.payload.startswith(b"x"):
                found.append(packet.payload)
    return found


def waiting(served: Serving[Worker]) -> int:
    return [one.state for one in served.role.host.connections].count(State.WAITING)


def test_requests_that_find_no_room_wait_and_go_in_order(full: Serving[Worker]) -> None:
    for number in range(3):
        full.connect(EVENTS % number)
        full.until(lambda: waiting(full) == number + 1)  # noqa: B023  # it is over within this turn
    assert not full.role._desk.is_free
    assert drain(full) == []
    found = []
    for _ in range(3):
        message, _sock = full.packet(full.handoffs[1])
        assert isinstance(message, StreamingHandoff)
        found.append(message.head.query)
    assert found == [b"0", b"1", b"2"]
    assert full.role._desk.is_free


def test_one_that_was_answered_meanwhile_is_skipped(full: Serving[Worker]) -> None:
    first = full.connect(EVENTS % 0)
    full.until(lambda: waiting(full) == 1)
    [connection] = full.role.host.connections
    full.connect(EVENTS % 1)
    full.until(lambda: waiting(full) == 2)
    full.do(connection.check, connection.deadline)
    full.read(first, b"Unavailable\n")
    drain(full)
    message, _ = full.packet(full.handoffs[1])
    assert isinstance(message, StreamingHandoff)
    assert message.head.query == b"1"


def test_one_that_waited_too_long_gets_503(full: Serving[Worker]) -> None:
    client = full.connect(EVENTS % 0)
    full.until(lambda: waiting(full) == 1)
    full.do(full.role.sweep, full.loop.time() + 4)
    assert b"retry-after: 1" in full.read(client, b"Unavailable\n")


def test_a_channel_that_nobody_can_read_is_no_pool() -> None:
    with serving(Worker) as served:
        for end in served.handoffs[1:]:
            end.close()
        served.role._unserved._channel.close()
        client = served.connect(EVENTS % 0)
        assert b" 503 " in served.read(client, b"Unavailable")
        assert not served.role._desk.available
