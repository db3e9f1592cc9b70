"""Packets from other processes: received in turn, counted when they say nothing, left in the channel during a pause."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from hsrv.ipc.channel import Channel, NoDescriptors, Packet
from hsrv.ipc.messages import MessageError
from hsrv.logs import floods
from hsrv.net.intake import Intake
from hsrv.net.loops import new_loop


def text(payload: bytes) -> str:
    if payload == b"?":
        raise MessageError("none of ours")
    return payload.decode()


class Receiver:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.send, self.channel = Channel.pair()
        self.got: list[str] = []
        self.undecodable = 0
        self.room = True
        self.exhausted = 0
        self.intake: Intake[str] = Intake(
            self.channel,
            loop,
            text,
            self.take,
            on_undecodable=self.drop,
            batch=2,
            has_room=lambda: self.room,
            on_exhausted=self.make_room,
        )
        self.intake._taking._batch_time = 60.0  # a busy machine would end a batch early

    def take(self, message: str, sock: socket.socket) -> None:
        self.got.append(message)
        sock.close()

    def drop(self) -> None:
        self.undecodable += 1

    def make_room(self) -> None:
        self.exhausted += 1

    def put(self, *payloads: bytes) -> None:
        for payload in payloads:
            near, far = socket.socketpair()
            with near, far:
                self.send.send(payload, near.fileno())

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    loop = new_loop("asyncio")
    receiver = Receiver(loop)
    yield receiver
    receiver.intake.close()
    receiver.send.close()
    receiver.channel.close()
    loop.close()


def test_a_batch_is_received_in_a_turn(receiver: Receiver) -> None:
    receiver.put(b"a", b"b", b"c")
    receiver.turn()
    assert receiver.got == []
    receiver.intake.open()
    receiver.turn()
    assert receiver.got == ["a", "b"]
    receiver.turn()
    assert receiver.got == ["a", "b", "c"]


def test_a_packet_that_says_nothing_is_dropped_and_told(receiver: Receiver) -> None:
    receiver.put(b"?", b"a")
    receiver.send.send(b"without a socket")
    receiver.intake.open()
    with capture_logs() as logs:
        for _ in range(3):
            receiver.turn()
    assert (receiver.got, receiver.undecodable) == (["a"], 2)
    assert [one["event"] for one in logs] == ["packet dropped"] * 2


def test_what_is_queued_is_received_at_once_or_stays_for_others(receiver: Receiver) -> None:
    receiver.put(b"a", b"b", b"c")
    receiver.intake.receive_all()
    assert receiver.got == [], "it is not open"
    receiver.intake.open()
    receiver.intake.receive_all()
    assert receiver.got == ["a", "b", "c"]
    receiver.put(b"d")
    receiver.intake.close()
    receiver.intake.close()
    receiver.turn()
    assert receiver.channel.receive() is not None


def test_without_room_nothing_is_received_until_there_is_some(receiver: Receiver) -> None:
    receiver.room = False
    receiver.put(b"a")
    receiver.intake.open()
    receiver.turn()
    receiver.turn()
    assert receiver.got == []
    receiver.room = True
    receiver.loop.run_until_complete(arrived(receiver))
    assert receiver.got == ["a"]


def test_without_descriptors_room_is_made_and_it_is_told_ever_more_rarely(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = Channel.receive, [3]

    def receive(self: Channel, *, expect: int = 2) -> Packet | None:
        if left[0]:
            left[0] -= 1
            raise NoDescriptors("Too many open files")
        return real(self, expect=expect)

    floods.forget()
    monkeypatch.setattr(Channel, "receive", receive)
    receiver.put(b"a")
    receiver.intake.open()
    with capture_logs() as logs:
        receiver.loop.run_until_complete(arrived(receiver))
    assert receiver.exhausted == 3
    assert [one["count"] for one in logs] == [1, 2]


def test_when_no_sender_is_left_it_closes(receiver: Receiver) -> None:
    receiver.intake.open()
    receiver.send.close()
    receiver.turn()
    assert not receiver.intake.is_open


async def arrived(receiver: Receiver) -> None:
    async with asyncio.timeout(10):
        while not receiver.got:  # noqa: ASYNC110  # turns of the loop
            await asyncio.sleep(0.005)
