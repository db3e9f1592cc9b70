"""What collectors are told, and by whom; without collectors nobody tells."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from hsrv.app.apploader import LoadedApp
from hsrv.asyncpool.pool import AsyncPool
from hsrv.board.scoreboard import Scoreboard, new_board
from hsrv.child.boot import ChildBoot
from hsrv.common.terms import Identity, Role
from hsrv.events import Event, Source
from hsrv.events.collectors import Collectors
from hsrv.events.types import ConnectionOpened, HandoffSent
from hsrv.http.emitter import EventEmitter, fields_of, route_of
from hsrv.http.observer import give
from hsrv.http.wire.head import HeadLimits, take_head
from hsrv.http.wire.parser import choose_parser
from hsrv.ipc.channel import Channel, ChannelFull
from hsrv.ipc.messages import Origin
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from hsrv.options.config import Config
from hsrv.system.realthreads import RLock
from hsrv.worker.worker import Worker
from tests.apps.raw import app


class Nothing:
    def collect(self, event: Event) -> None:
        """Does nothing."""


class Place:
    """What a worker or pool is born with, and a loop for it."""

    def __init__(self, stack: ExitStack) -> None:
        self.loop = new_loop("auto")
        stack.callback(self.loop.close)
        asyncio.set_event_loop(self.loop)
        stack.callback(asyncio.set_event_loop, None)
        board = new_board()
        control, other = socket.socketpair()
        channels = [*Channel.pair(), *Channel.pair()]
        for sock in (control, other):
            stack.callback(sock.close)
        for channel in channels:
            stack.callback(channel.close)
        self.boot = ChildBoot(
            identity=Identity(Role.WORKER, 1, 1),
            config=Config(),
            app=LoadedApp(app, "raw"),
            control=control,
            board=Scoreboard(board),
            log_context={},
            handoff_send=channels[0],
            handoff_receive=channels[1],
            adopt_send=channels[2],
            adopt_receive=channels[3],
            listeners=[],
        )
        os.close(board)

    @property
    def watched(self) -> ChildBoot:
        source = Source(Role.WORKER, 1, 1, os.getpid())
        return replace(self.boot, collectors=Collectors(source, [("nothing", Nothing())]))

    def learn(self, pattern: str, streams: bool) -> None:
        raise AssertionError(pattern)


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


@pytest.mark.parametrize("role", [Worker, AsyncPool])
def test_without_collectors_nobody_observes(place: Place, role: type[Worker | AsyncPool]) -> None:
    assert role(place.boot, place.loop, place.learn).host.observer is None


@pytest.mark.parametrize("role", [Worker, AsyncPool])
def test_collectors_are_told_by_a_teller(place: Place, role: type[Worker | AsyncPool]) -> None:
    assert isinstance(role(place.watched, place.loop, place.learn).host.observer, EventEmitter)


class Kept:
    """A collector that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def collect(self, event: Event) -> None:
        self.events.append(event)


def test_a_connection_that_is_given_away_is_told_with_the_time_before_it_was() -> None:
    kept = Kept()
    emitter = EventEmitter(Collectors(Source(Role.WORKER, 1, 1, os.getpid()), [("kept", kept)]), RLock())
    loop = new_loop("asyncio")
    ours, client = socket.socketpair()
    here, there = Channel.pair()
    with closing(loop), closing(client), closing(here), closing(there):
        origin = emitter.opened(Origin(client=None, server=None, accepted_at=0.0))
        give(Conn(ours, loop, origin), here, b"packet", "adopt", emitter)
        after = time.monotonic()
        packet = there.receive()
        assert packet is not None
        packet.close()
    opened, sent = kept.events
    assert isinstance(opened, ConnectionOpened)
    assert isinstance(sent, HandoffSent)
    assert sent.connection == opened.connection == origin.connection_id != ""
    assert sent.clock < after


def test_a_connection_that_finds_no_room_is_not_told() -> None:
    class Full:
        def send(self, payload: bytes, *fds: int) -> None:
            raise ChannelFull("no room")

    kept = Kept()
    emitter = EventEmitter(Collectors(Source(Role.WORKER, 1, 1, os.getpid()), [("kept", kept)]), RLock())
    loop = new_loop("asyncio")
    ours, client = socket.socketpair()
    with closing(loop), closing(client), closing(ours):
        conn = Conn(ours, loop, Origin(client=None, server=None, accepted_at=0.0))
        with pytest.raises(ChannelFull):
            give(conn, Full(), b"packet", "adopt", emitter)
    assert not kept.events


class Route:
    path = "/users/{id}"


@pytest.mark.parametrize(
    ("scope", "route"),
    [
        ({}, ""),
        ({"route": Route()}, "/users/{id}"),
        ({"path_template": "/a/{b}"}, "/a/{b}"),
        ({"route": 5}, ""),
    ],
)
def test_the_framework_names_the_route(scope: dict[str, object], route: str) -> None:
    assert route_of(scope) == route


def test_what_is_told_of_the_headers() -> None:
    head = take_head(
        bytearray(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: caf\xe9\r\nCookie: secret\r\n\r\n"),
        0,
        choose_parser("auto"),
        HeadLimits(request_line=1000, head=1000, fields=10, body=0),
    )
    assert head is not None
    assert fields_of(head) == ["café", ""]
