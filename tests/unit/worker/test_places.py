"""Who has a place, who waits for one, and when the worker accepts."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from hsrv.http.contract import Connection
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import State
from hsrv.net.loops import new_loop
from hsrv.serving.accept import Acceptor
from hsrv.worker.places import Places


class Door:
    """Accepts, or doesn't."""

    def __init__(self) -> None:
        self.open = True

    def pause(self) -> None:
        self.open = False

    def resume(self) -> None:
        self.open = True


class Waiting:
    """A connection that waits for a place, and takes it."""

    def __init__(self, places: Places, state: State = State.WAITING) -> None:
        self.places = places
        self.state = state
        self.call = new_call()

    def proceed(self) -> None:
        self.state = State.RUNNING
        self.places.take(self.call)


def new_call() -> Exchange:
    return cast("Exchange", object())


class Room:
    """Two places, on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.door = Door()
        self.wanted: list[int] = []
        self.places = Places(2, cast("Acceptor", self.door), loop, self.wanted.append)
        self.calls = [new_call(), new_call()]

    def fill(self) -> None:
        for call in self.calls:
            self.places.take(call)

    def queue(self, **options: Any) -> Waiting:
        waiting = Waiting(self.places, **options)
        self.places.queue(cast("Connection", waiting))
        return waiting

    def stands(self) -> tuple[bool, bool]:
        """Whether a place is free, and whether the worker accepts."""
        return self.places.free, self.door.open

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def room() -> Iterator[Room]:
    loop = new_loop("asyncio")
    yield Room(loop)
    loop.close()


def test_when_all_places_are_taken_none_is_free_and_the_worker_accepts_no_more(room: Room) -> None:
    room.places.take(room.calls[0])
    assert room.stands() == (True, True)
    room.places.take(room.calls[1])
    assert room.stands() == (False, False)
    room.places.give_back(room.calls[0])
    assert room.stands() == (True, True)


def test_a_place_is_given_back_once(room: Room) -> None:
    room.fill()
    room.places.give_back(room.calls[0])
    room.places.give_back(room.calls[0])
    room.places.take(new_call())
    assert not room.places.free


def test_whoever_waits_longest_has_the_next_place_and_nobody_overtakes(room: Room) -> None:
    room.fill()
    first, second = room.queue(), room.queue()
    room.places.give_back(room.calls[0])
    assert not room.places.free, "it is the first one's"
    room.turn()
    assert (first.state, second.state) == (State.RUNNING, State.WAITING)
    assert not room.door.open


def test_one_that_left_while_it_waited_takes_no_place(room: Room) -> None:
    room.fill()
    room.queue(state=State.CLOSED)
    room.places.give_back(room.calls[0])
    room.turn()
    assert room.places.free
    assert room.door.open


def test_what_runs_and_waits_is_told(room: Room) -> None:
    room.fill()
    room.queue()
    room.places.give_back(room.calls[0])
    room.turn()
    assert room.wanted == [1, 2, 3, 2, 2, 2]
