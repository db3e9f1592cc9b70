"""The parking lot over real sockets and a real adopt channel."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from hsrv.asyncpool.parking import ParkingLot
from hsrv.common.terms import EndReason
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import ConnectionHandoff, Origin, decode_adoption
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from hsrv.system.descriptors import IDLE_ENOUGH

DEADLINE = 10.0
ORIGIN = Origin(client=("10.0.0.1", 9), server=None, accepted_at=1.0, requests_served=3)


class Place:
    """A lot, its adopt channel, and the clients of what stands there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, stack: ExitStack) -> None:
        self.loop = loop
        self.send, self.receive = Channel.pair()
        self.stack = stack
        stack.callback(self.send.close)
        stack.callback(self.receive.close)
        self.spoke: list[tuple[Conn, float]] = []
        self.lot = ParkingLot(self.send, loop, limit, self.hear)
        stack.callback(self.lot.close)

    def conn(self) -> tuple[Conn, socket.socket]:
        ours, client = socket.socketpair()
        ours.setblocking(False)
        client.settimeout(DEADLINE)
        self.stack.enter_context(client)
        return Conn(ours, self.loop, ORIGIN), client

    def hear(self, conn: Conn, deadline: float) -> None:
        self.spoke.append((conn, deadline))
        self.stack.callback(conn.close)

    def park(self, deadline: float = 1e9) -> socket.socket:
        conn, client = self.conn()
        self.lot.park(conn, deadline)
        return client

    async def adopted(self) -> tuple[ConnectionHandoff, socket.socket]:
        async with asyncio.timeout(DEADLINE):
            while (packet := self.receive.receive()) is None:  # noqa: ASYNC110  # turns of the loop
                await asyncio.sleep(0)
        with packet:
            sock = packet.take_socket()
            self.stack.enter_context(sock)
            message = decode_adoption(packet.payload)
            assert isinstance(message, ConnectionHandoff)
            return message, sock

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not true():  # noqa: ASYNC110  # turns of the loop
                await asyncio.sleep(0)


def with_place(story: Callable[[Place], Awaitable[None]], limit: int = 100) -> None:
    loop = new_loop("auto")
    try:
        with ExitStack() as stack:

            async def run() -> None:
                await story(Place(loop, limit, stack))

            loop.run_until_complete(run())
    finally:
        loop.close()


def test_one_that_speaks_is_read_by_the_pool_with_all_that_it_said_and_its_time() -> None:
    async def story(place: Place) -> None:
        client = place.park(deadline=123.0)
        place.park()
        assert len(place.lot) == 2
        client.send(b"GET / HTTP/1.1\r\n")
        await place.until(lambda: bool(place.spoke))
        [(conn, deadline)] = place.spoke
        assert (deadline, conn.origin, conn.reading) == (123.0, ORIGIN, False)
        assert conn.receive() == b"GET / HTTP/1.1\r\n"
        assert len(place.lot) == 1
        assert place.receive.receive() is None

    with_place(story)


def test_one_that_hangs_up_or_resets_is_closed_and_troubles_no_worker() -> None:
    async def story(place: Place) -> None:
        clients = [place.park() for _ in range(3)]
        for client in clients:
            client.close()
        await place.until(lambda: len(place.lot) == 0)
        assert place.receive.receive() is None

    with_place(story)


def test_one_that_stays_silent_too_long_is_closed() -> None:
    async def story(place: Place) -> None:
        late, later = place.park(deadline=10.0), place.park(deadline=20.0)
        assert place.lot.sweep(9.0) == []
        assert place.lot.sweep(10.0) == [EndReason.IDLE_TIMEOUT]
        assert late.recv(1) == b""
        assert len(place.lot) == 1
        assert place.lot.sweep(30.0) == [EndReason.IDLE_TIMEOUT]
        assert later.recv(1) == b""

    with_place(story)


def test_those_that_stood_longest_make_room_but_not_those_that_speak() -> None:
    async def story(place: Place) -> None:
        clients = [place.park() for _ in range(4)]
        assert place.lot.evict(3) == 0, "they have just come"
        await asyncio.sleep(IDLE_ENOUGH)
        clients[1].send(b"GET")  # not seen by the loop yet
        assert place.lot.evict(3) == 2
        assert [clients[number].recv(1) for number in (0, 2)] == [b"", b""]
        await place.until(lambda: len(place.spoke) == 1)
        assert len(place.lot) == 1

    with_place(story)


def test_a_full_lot_sends_on_to_the_workers_who_keep_it() -> None:
    async def story(place: Place) -> None:
        place.park()
        client = place.park(deadline=50.0)
        message, sock = await place.adopted()
        assert (message.parkable, message.deadline) == (False, 50.0)
        client.send(b"x")
        assert sock.recv(1) == b"x"

    with_place(story, limit=1)


def test_a_lot_that_is_given_up_sends_all_away_also_those_that_still_come() -> None:
    async def story(place: Place) -> None:
        clients = [place.park() for _ in range(5)]
        place.lot.send_away()
        clients.append(place.park())
        for _ in clients:
            message, _ = await place.adopted()
            assert message.parkable, "the next generation has a lot of its own"
        assert len(place.lot) == 0

    with_place(story)


def test_when_the_channel_is_full_they_wait_in_order_and_none_is_lost() -> None:
    async def story(place: Place) -> None:
        count = 0
        clients = []
        while not count or len(place.lot) < 5:
            conn, client = place.conn()
            place.lot.give_back(conn, 1e9, b"%d" % count)
            clients.append(client)
            count += 1
        for number in range(count):
            message, _ = await place.adopted()
            assert message.buffered == b"%d" % number
        assert len(place.lot) == 0

    with_place(story, limit=10_000)


def test_a_closed_lot_closes_all_also_those_that_still_come() -> None:
    async def story(place: Place) -> None:
        clients = [place.park() for _ in range(3)]
        place.lot.close()
        clients.append(place.park())
        conn, client = place.conn()
        place.lot.give_back(conn, 1e9, b"")
        for closed in (*clients, client):
            assert closed.recv(1) == b""
        assert len(place.lot) == 0

    with_place(story)
