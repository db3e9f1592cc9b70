"""Packets with descriptors over real socket pairs."""

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsrv.ipc.channel import PACKET_LIMIT, Channel, ChannelClosed, ChannelFull, NoDescriptors


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    left, right = Channel.pair()
    yield left, right
    left.close()
    right.close()


def open_descriptors() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def test_a_packet_arrives_whole_with_its_socket(pair: tuple[Channel, Channel]) -> None:
    near, far = socket.socketpair()
    pair[0].send(b"hello", near.fileno())
    near.close()
    packet = pair[1].receive()
    assert packet is not None
    with packet, packet.take_socket() as passed:
        assert packet.payload == b"hello"
        assert not passed.getblocking()
        assert not os.get_inheritable(passed.fileno())
        passed.send(b"x")
        assert far.recv(10) == b"x"
    far.close()


def test_nothing_queued_is_none(pair: tuple[Channel, Channel]) -> None:
    assert pair[1].receive() is None


@pytest.mark.parametrize("size", [0, 1, PACKET_LIMIT - 1, PACKET_LIMIT, PACKET_LIMIT + 1, 3_000_000])
def test_any_size_fits(pair: tuple[Channel, Channel], size: int) -> None:
    payload = os.urandom(size)
    near, far = socket.socketpair()
    before = open_descriptors()
    pair[0].send(payload, near.fileno())
    packet = pair[1].receive()
    assert packet is not None
    assert packet.payload == payload
    assert len(packet) == 1
    packet.close()
    assert open_descriptors() == before
    near.close()
    far.close()


def test_what_nobody_takes_is_closed_with_the_packet(pair: tuple[Channel, Channel]) -> None:
    near, far = socket.socketpair()
    pair[0].send(b"", near.fileno())
    near.close()
    packet = pair[1].receive()
    assert packet is not None
    packet.close()
    assert far.recv(1) == b""
    far.close()


def test_a_full_channel_raises_and_the_sender_still_owns_the_socket(pair: tuple[Channel, Channel]) -> None:
    near, far = socket.socketpair()
    with pytest.raises(ChannelFull):
        for _ in range(100_000):
            pair[0].send(b"x" * 1000, near.fileno())
    near.send(b"mine")
    assert far.recv(10) == b"mine"
    packet = pair[1].receive()
    assert packet is not None
    packet.close()
    pair[0].send(b"room again", near.fileno())
    while (packet := pair[1].receive()) is not None:
        packet.close()
    near.close()
    far.close()


def test_packets_survive_the_death_of_a_receiver(pair: tuple[Channel, Channel]) -> None:
    """The supervisor holds a copy of the receiving end: what is queued waits for the next receiver."""
    copy = Channel(socket.socket(fileno=os.dup(pair[1].fileno())))
    pair[0].send(b"queued")
    pair[1].close()
    packet = copy.receive()
    assert packet is not None
    assert packet.payload == b"queued"
    copy.close()


def test_the_end_of_all_senders_is_reported(pair: tuple[Channel, Channel]) -> None:
    pair[0].close()
    with pytest.raises(ChannelClosed):
        pair[1].receive()


def test_sending_to_nobody_is_reported(pair: tuple[Channel, Channel]) -> None:
    pair[1].close()
    with pytest.raises(ChannelClosed):
        pair[0].send(b"x")


def test_without_free_descriptors_the_packet_stays_queued(pair: tuple[Channel, Channel]) -> None:
    near, far = socket.socketpair()
    pair[0].send(b"kept", near.fileno())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()) + 2, hard))
    hoard: list[int] = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                hoard.append(os.dup(far.fileno()))
        with pytest.raises(NoDescriptors):
            pair[1].receive()
    finally:
        for fd in hoard:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    packet = pair[1].receive()
    assert packet is not None
    assert (packet.payload, len(packet)) == (b"kept", 1)
    packet.close()
    near.close()
    far.close()
