"""Reads a packet channel on an event loop: sockets that another process sends to this one.

Promises: few packets per turn of the loop (so several receivers share evenly); a packet that doesn't decode is dropped
and counted; without free descriptors nothing is read, so that none is lost.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from hsrv.ipc.channel import Channel, ChannelClosed, NoDescriptors, Packet
from hsrv.ipc.messages import MessageError
from hsrv.logs.logging import get_logger
from hsrv.net.context import later
from hsrv.net.poller import poller_of

EXHAUSTED_PAUSE: Final = 0.1
"""Seconds without reading after EMFILE or ENFILE; packets wait in the channel meanwhile."""

BATCH_TIME: Final = 0.001
"""Seconds after which no further packet or new connection is taken in this turn of the loop: existing connections wait
meanwhile, and other receivers can take the rest sooner."""

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
        batch: int = 1,
        has_room: Callable[[], bool] = lambda: True,
        on_exhausted: Callable[[], object] = lambda: None,
    ) -> None:
        """`batch`: packets taken per turn of the loop. One is the fairest to other receivers; more are for receivers
        with long turns, which would otherwise leave too many packets waiting. `has_room`: while it returns False,
        nothing is received. `on_exhausted`: called when there are no descriptors, to make room."""
        self._batch = batch
        self._has_room = has_room
        self._on_exhausted = on_exhausted
        self._channel = channel
        self._loop = loop
        self._poller = poller_of(loop)
        self._decode = decode
        self._on_message = on_message
        self._pause: asyncio.TimerHandle | None = None
        self.is_open = False
        self.undecodable = 0
        self.received = 0

    def open(self) -> None:
        """Receive from now on."""
        self.is_open = True
        self._poller.add_reader(self._channel.fileno(), self._receive_batch)

    def close(self) -> None:
        """Receive no more. What is queued stays for the other receivers. May be called again."""
        if self.is_open:
            self.is_open = False
            self._poller.remove_reader(self._channel.fileno())
            if self._pause is not None:
                self._pause.cancel()
                self._pause = None

    def receive_all(self) -> None:
        """Receive what is queued now."""
        while self.is_open and self._receive():
            pass

    def _receive_batch(self) -> None:
        began = time.monotonic()
        for _ in range(self._batch):
            if not self.is_open or not self._receive() or time.monotonic() - began > BATCH_TIME:
                return

    def _receive(self) -> bool:
        if not self._has_room():
            self._take_a_break()
            return False
        try:
            packet = self._channel.receive()
        except NoDescriptors as error:
            log.warning("out of descriptors", error=str(error), pause=EXHAUSTED_PAUSE)
            self._on_exhausted()
            self._take_a_break()
            return False
        except ChannelClosed:
            self.close()  # the supervisor is gone: the control channel reports it too
            return False
        if packet is None:
            return False
        with packet:
            self._deliver(packet)
        return True

    def _take_a_break(self) -> None:
        self._poller.remove_reader(self._channel.fileno())
        if self._pause is None:
            self._pause = later(self._loop, EXHAUSTED_PAUSE, self._resume)

    def _deliver(self, packet: Packet) -> None:
        try:
            message = self._decode(packet.payload)
            sock = packet.take_socket()
        except (MessageError, IndexError, OSError) as error:
            self.undecodable += 1
            log.error("packet dropped", error=str(error), descriptors=len(packet))
            return
        self.received += 1
        self._on_message(message, sock)

    def _resume(self) -> None:
        self._pause = None
        if self.is_open:
            self._poller.add_reader(self._channel.fileno(), self._receive_batch)
