"""Reads a packet channel on an event loop: sockets that another process sends to this one.

Promises: few packets per turn of the loop (so several receivers share evenly); a packet that doesn't decode is dropped
and counted; without free descriptors nothing is read, so that none is lost.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Generic, TypeVar

from hsrv.ipc.channel import Channel, ChannelClosed, NoDescriptors, Packet
from hsrv.ipc.messages import MessageError
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.takeloop import PAUSE, TakeLoop

M = TypeVar("M")

log = get_logger("hsrv.channel")


class Intake(Generic[M]):
    """Receives messages of one kind, each with one socket."""

    def __init__(
        self,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        decode: Callable[[bytes], M],
        on_message: Callable[[M, socket.socket], None],
        *,
        on_undecodable: Callable[[], None],
        batch: int = 1,
        has_room: Callable[[], bool] = lambda: True,
        on_exhausted: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_undecodable`: called for each packet that is dropped. `batch`: packets taken per turn of the loop. One is
        the fairest to other receivers; more are for receivers with long turns, which would otherwise leave too many
        packets waiting. `has_room`: while it returns False, nothing is received. `on_exhausted`: called when there are
        no descriptors, to make room."""
        self._channel = channel
        self._decode = decode
        self._on_message = on_message
        self._on_undecodable = on_undecodable
        self._has_room = has_room
        self._on_exhausted = on_exhausted
        self._taking = TakeLoop([channel], loop, self._receive, batch=batch)

    @property
    def is_open(self) -> bool:
        return self._taking.is_open

    def open(self) -> None:
        """Receive from now on. May be called again."""
        self._taking.open()

    def close(self) -> None:
        """Receive no more. What is queued stays for the other receivers. May be called again."""
        self._taking.end()

    def receive_all(self) -> None:
        """Receive what is queued now."""
        while self.is_open and self._receive(self._channel):
            pass

    def _receive(self, channel: Channel) -> bool:
        """Receive one packet. Returns whether the next may follow."""
        if not self._has_room():
            self._taking.pause()
            return False
        try:
            packet = channel.receive()
        except NoDescriptors as error:
            if count := lines_due("out of descriptors", channel.fileno()):
                log.warning("out of descriptors", error=str(error), pause=PAUSE, count=count)
            self._on_exhausted()
            self._taking.pause()
            return False
        except ChannelClosed:
            self.close()  # the supervisor is gone: the control channel reports it too
            return False
        if packet is None:
            return False
        with packet:
            self._deliver(packet)
        return True

    def _deliver(self, packet: Packet) -> None:
        try:
            message = self._decode(packet.payload)
            sock = packet.take_socket()
        except (MessageError, IndexError, OSError) as error:
            self._on_undecodable()
            log.error("packet dropped", error=str(error), descriptors=len(packet))
            return
        self._on_message(message, sock)
