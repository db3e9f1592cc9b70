"""The handoff channels of all generations, and the packets in one that no pool reads any more.

Promises: a request that waits there goes to a pool of the generation that serves, in order; one that no pool has
received within --handoff-timeout is answered with 503. At most one packet per channel is held in memory: the others
wait in the kernel.
"""

import contextlib
import socket
import time
from collections.abc import Callable
from math import inf
from typing import Final

import anyio

from hsrv.ipc.channel import Channel, ChannelClosed, ChannelError, NoDescriptors, Packet
from hsrv.ipc.messages import MessageError, ParkedHandoff, decode_handoff
from hsrv.logs.logging import get_logger
from hsrv.supervisor.runtime.errorlog import ErrorLog
from hsrv.supervisor.sockets.noworkers import RECEIVE_SIZE, unavailable

RETRY_INTERVAL: Final = 0.02
"""Seconds until a full channel is tried again. ETOOMANYREFS has no readiness event, so a timer serves all causes."""

Pair = tuple[Channel, Channel]
"""The send and the receive end."""

log = get_logger("hsrv.supervisor")


class HandoffChannel:
    """The channel of one generation."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.closes_at = inf
        """When requests that still wait are answered, because the generation is gone."""
        self._held: Packet | None = None
        """A packet from the channel for which the target had no room: it is sent first."""
        self._held_until = inf
        self._unreadable = False
        """There was no descriptor to receive with."""

    @property
    def waits(self) -> bool:
        return self._held is not None or self._unreadable

    def move(self, target: Channel, now: float, patience: float) -> int:
        """Move the waiting packets; returns how many. `waits` then says whether more is left.

        No packet is put back: other workers may have filled the channel meanwhile.
        """
        moved = 0
        while self._held is not None or self._take(now + patience):
            assert self._held is not None
            try:
                target.send(self._held.payload, *self._held.fds)
            except ChannelError:
                return moved
            self._let_go().close()
            moved += 1
        return moved

    def refuse_late(self, now: float) -> int:
        """Answer a request that has been held for too long; returns how many."""
        if self._held is None or now < self._held_until:
            return 0
        return _refuse(self._let_go())

    def close(self) -> int:
        """Answer all requests that still wait there and close both ends; returns how many were answered. `waits` then
        says whether some could not be answered."""
        refused = 0
        while self._held is not None or self._take(inf):
            refused += _refuse(self._let_go())
        for channel in self.pair:
            channel.close()
        return refused

    def _take(self, until: float) -> bool:
        """Hold the next packet. False: there is none, or it can't be received."""
        self._unreadable = False
        try:
            self._held = self.pair[1].receive()
        except NoDescriptors:
            self._unreadable = True
        except ChannelClosed:
            return False
        self._held_until = until
        return self._held is not None

    def _let_go(self) -> Packet:
        packet, self._held = self._held, None
        assert packet is not None
        return packet


class Handoffs:
    """The handoff channels of one server."""

    def __init__(self, serving: Callable[[], int | None], patience: Callable[[], float]) -> None:
        """`serving`: the number of the generation that serves. `patience`: seconds that a request may wait for a
        pool."""
        self._serving = serving
        self._patience = patience
        self._homes: dict[int, HandoffChannel] = {}
        """By generation."""
        self._stuck = anyio.Event()
        self._errors = ErrorLog("handoffs")

    def pair(self, number: int) -> Pair:
        """The channel of a generation; made when there is none. Raises OSError."""
        if number not in self._homes:
            self._homes[number] = HandoffChannel(Channel.pair())
        return self._homes[number].pair

    def move(self, number: int) -> None:
        """Move requests that wait for a pool of a generation without one to the generation that serves."""
        serving, home = self._serving(), self._homes.get(number)
        if home is None or serving is None or serving == number:
            return
        with self._errors.logged():
            moved = home.move(self._homes[serving].pair[0], time.monotonic(), self._patience())
            if moved:
                log.info("handoffs moved", generation=number, to=serving, count=moved)
        if home.waits:
            self._stuck.set()

    def close(self, number: int) -> None:
        """The generation is gone: packets that can't move now are tried again until --handoff-timeout."""
        closes_at = time.monotonic() + self._patience()
        self.move(number)
        home = self._homes.get(number)
        if home is not None and home.waits and self._serving() is not None:
            home.closes_at = closes_at
        else:
            self._end(number)

    def close_all(self) -> None:
        """The server has ended."""
        for number in list(self._homes):
            self._end(number)

    async def run(self) -> None:
        """Try again to move packets for which there was no room, until cancelled."""
        while True:
            await self._stuck.wait()
            self._stuck = anyio.Event()
            while any(home.waits for home in self._homes.values()):
                await anyio.sleep(RETRY_INTERVAL)
                self._try_again()

    def _try_again(self) -> None:
        self._errors.remind(time.monotonic())
        for number, home in list(self._homes.items()):
            if home.waits:
                self.move(number)
            if refused := home.refuse_late(time.monotonic()):
                _tell(number, refused)
                self.move(number)
            over = not home.waits or time.monotonic() >= home.closes_at
            if home.closes_at < inf and over:
                self._end(number)

    def _end(self, number: int) -> None:
        home = self._homes.pop(number, None)
        if home is not None:
            _tell(number, home.close())
            if home.waits:
                log.error(
                    "handoffs lost", generation=number, why="no descriptor was left to receive them with"
                )


def _tell(number: int, refused: int) -> None:
    if refused:
        log.error(
            "handoffs refused", generation=number, count=refused, status=503, why="no pool took them in time"
        )


def _refuse(packet: Packet) -> int:
    """Answer the request with 503. An idle connection is just closed, as any server may do. Returns the number of
    requests."""
    with packet:
        try:
            message = decode_handoff(packet.payload)
            sock = packet.take_socket()
        except (MessageError, IndexError, OSError) as error:
            log.error("packet dropped", error=str(error), descriptors=len(packet))
            return 0
        with sock:
            if isinstance(message, ParkedHandoff):
                return 0
            _answer(sock)
    return 1


def _answer(sock: socket.socket) -> None:
    """Data that has arrived is read first, because closing with unread data would reset the connection and lose the
    answer."""
    with contextlib.suppress(OSError):  # the client is gone, or reads nothing
        with contextlib.suppress(BlockingIOError):
            sock.recv(RECEIVE_SIZE)
        sock.send(unavailable())
