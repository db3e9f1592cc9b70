"""A connection on its way to another process."""

from collections.abc import Callable

import pytest

from hsrv.common.terms import EndReason
from hsrv.http.contract import Outcome
from hsrv.http.states import State
from hsrv.ipc.channel import ChannelFull
from hsrv.ipc.messages import (
    StreamingHandoff,
    WebSocketHandoff,
    decode_adoption,
    decode_handoff,
)
from tests.unit.http.fakehost import Served, serving

ASK = b"GET /%s HTTP/1.1\r\nHost: a\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Receiver:
    """The other end of a channel."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.packets: list[bytes] = []

    def send(self, payload: bytes, *fds: int) -> None:
        if self.full:
            raise ChannelFull
        assert len(fds) == 1
        self.packets.append(payload)


def give(served: Served, receiver: Receiver) -> None:
    with served.host.turn:
        served.connection.give(receiver, served.connection.adoption(), "adopt")


def test_what_was_read_of_the_next_request_goes_with_it() -> None:
    with serving() as served:
        served.say(b"GET / HTTP")
        served.reach(State.READING)
        receiver = Receiver()
        give(served, receiver)
        message = decode_adoption(receiver.packets[0])
    assert message.buffered == b"GET / HTTP"
    assert served.state is State.HANDED_OFF
    assert served.host.reasons() == [EndReason.HANDED_OFF]


def test_without_room_in_the_channel_it_is_served_here() -> None:
    with serving() as served:
        with pytest.raises(ChannelFull):
            give(served, Receiver(full=True))
        assert served.state is State.IDLE
        assert served.connection.conn.reading


@pytest.mark.parametrize(
    ("request_", "kind"),
    [(ASK % b"s" + b"\r\n", StreamingHandoff), (ASK % b"w" + UPGRADE, WebSocketHandoff)],
)
def test_a_request_goes_with_its_head_and_the_bytes_after_it(request_: bytes, kind: type) -> None:
    receiver = Receiver()
    with serving() as served:
        served.host.decides["take"] = lambda _: Outcome.LATER
        served.say(request_ + b"more")
        served.reach(State.WAITING)
        with served.host.turn:
            assert served.connection.waiting is not None
            packet = served.connection.handoff(*served.connection.waiting)
            served.connection.give(receiver, packet, "request")
    message = decode_handoff(receiver.packets[0])
    assert type(message) is kind
    assert message.buffered == b"more"


def test_a_connection_that_is_let_go_is_unwatched_and_keeps_its_deadline() -> None:
    with serving() as served:
        deadline = served.connection.deadline
        with served.host.turn:
            conn, buffered = served.connection.release()
        assert not conn.reading
        assert conn.on_broken is None
        assert (buffered, served.connection.deadline) == (b"", deadline)
        with served.host.turn:
            conn.close()


def since(served: Served, now: Callable[[], float]) -> float:
    with served.host.turn:
        return served.connection.rests_since(now())


def test_it_rests_while_nothing_of_a_request_was_read() -> None:
    with serving() as served:
        began = served.connection.deadline - served.host.settings.header_timeout
        assert since(served, lambda: began + 3.0) == pytest.approx(3.0)
        assert served.connection.unused
        served.say(b"G")
        served.reach(State.READING)
        assert since(served, lambda: began + 3.0) == 0.0
        assert not served.connection.unused
