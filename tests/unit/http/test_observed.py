"""Off means off: without collectors a process is made of the plain classes, and nothing in them is replaced."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from hsrv.app.apploader import LoadedApp
from hsrv.asyncpool import main as pool_main
from hsrv.asyncpool.observed import ObservedLot, ObservedPool
from hsrv.asyncpool.parking import ParkingLot
from hsrv.asyncpool.pool import AsyncPool
from hsrv.board.scoreboard import Scoreboard, new_board
from hsrv.child.life import ChildBoot
from hsrv.common.terms import Identity, Role
from hsrv.events import Event, Source
from hsrv.events.collectors import Collectors
from hsrv.http.host import HTTPHost
from hsrv.http.observed import ObservedHost, fields_of, route_of
from hsrv.http.wire.head import HeadLimits, take_head
from hsrv.http.wire.parser import choose_parser
from hsrv.ipc.channel import Channel
from hsrv.net.loops import new_loop
from hsrv.options.config import Config
from hsrv.worker import main as worker_main
from hsrv.worker.handoff import HandoffDesk
from hsrv.worker.observed import ObservedDesk, ObservedWorker
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


def replaced(thing: object) -> list[str]:
    """Methods that an instance has of its own instead of its class. A compiled class lets it have none."""
    return [name for name in getattr(thing, "__dict__", {}) if hasattr(type(thing), name)]


def test_a_worker_without_collectors_is_the_plain_one(place: Place) -> None:
    worker = worker_main.make(place.boot, place.loop, place.learn)
    assert type(worker) is Worker
    assert type(worker._desk) is HandoffDesk
    assert ObservedHost not in type(worker).__mro__
    assert replaced(worker) == []
    assert Worker.call is HTTPHost.call


def test_a_pool_without_collectors_is_the_plain_one(place: Place) -> None:
    pool = pool_main.make(place.boot, place.loop, place.learn)
    assert type(pool) is AsyncPool
    assert type(pool._lot) is ParkingLot
    assert replaced(pool) == []
    assert AsyncPool.call is HTTPHost.call


def test_with_collectors_both_tell(place: Place) -> None:
    worker = worker_main.make(place.watched, place.loop, place.learn)
    assert (type(worker), type(worker._desk)) == (ObservedWorker, ObservedDesk)
    assert ObservedWorker.__mro__.index(ObservedHost) < ObservedWorker.__mro__.index(Worker)


def test_a_pool_with_collectors_tells(place: Place) -> None:
    pool = pool_main.make(place.watched, place.loop, place.learn)
    assert (type(pool), type(pool._lot)) == (ObservedPool, ObservedLot)


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
