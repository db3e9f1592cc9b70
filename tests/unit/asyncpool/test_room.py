"""Room in a pool: descriptors, parked connections and the limits of options."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hsrv.asyncpool.room import ROOM_WANTED, PoolRoom
from hsrv.board.census import CensusKind
from hsrv.common.terms import EndReason
from hsrv.options.config import Config


class Pool:
    """What the room is computed from."""

    def __init__(self, *, connections: int = 0, websockets: int = 0, parked: int = 0, **options: Any) -> None:
        self.connections = list(range(connections))
        self.websockets = list(range(websockets))
        self.lot = Lot(parked)
        self.ended: list[EndReason] = []
        self.now = 100.0
        self.totals: dict[CensusKind, int] = {}
        self.settings = Config(**options)
        self.most_connections = 10
        self.census: Any = SimpleNamespace(total=lambda kind: self.totals.get(kind, 0))
        self.loop = SimpleNamespace(time=lambda: self.now)
        self.count = self.ended.append
        self.room = PoolRoom(cast("Any", self), cast("Any", self.websockets), cast("Any", self.lot))


class Lot:
    def __init__(self, parked: int) -> None:
        self.parked = parked

    def __len__(self) -> int:
        return self.parked

    def evict(self, count: int) -> int:
        closed = min(count, self.parked)
        self.parked -= closed
        return closed


def test_requests_websockets_and_parked_connections_share_the_room() -> None:
    assert Pool(connections=3, websockets=3, parked=3).room.has_room()
    assert not Pool(connections=4, websockets=3, parked=3).room.has_room()


def test_parked_connections_are_closed_for_a_stream_and_counted() -> None:
    pool = Pool(connections=2, parked=8)
    assert pool.room.limit_for(websocket=False) is None
    assert pool.lot.parked == 0
    assert pool.ended == [EndReason.DESCRIPTORS] * 8
    crowded = Pool(parked=100)
    assert crowded.room.make_room() == ROOM_WANTED
    assert crowded.lot.parked == 100 - ROOM_WANTED


def test_a_full_pool_leaves_handoffs_in_the_channel_for_their_timeout_and_then_refuses_them() -> None:
    pool = Pool(connections=10, handoff_timeout=2.0)
    assert not pool.room.receives()
    pool.now += 1.9
    assert not pool.room.receives()
    pool.now += 0.1
    assert pool.room.receives(), "to be refused"
    assert pool.room.limit_for(websocket=False) is EndReason.DESCRIPTORS


def test_a_place_that_became_free_meanwhile_starts_the_timeout_again() -> None:
    pool = Pool(connections=10, handoff_timeout=2.0)
    assert not pool.room.receives()
    pool.now += 1.9
    freed = pool.connections.pop()
    assert pool.room.receives()
    pool.connections.append(freed)
    pool.now += 1.9
    assert not pool.room.receives()


@pytest.mark.parametrize(
    ("websocket", "option", "kind", "reason"),
    [
        (False, "limit_streams", CensusKind.STREAMS, EndReason.LIMIT_STREAMS),
        (True, "limit_websockets", CensusKind.WEBSOCKETS, EndReason.LIMIT_WEBSOCKETS),
    ],
)
def test_each_kind_has_its_limit_of_the_whole_server(
    websocket: bool, option: str, kind: CensusKind, reason: EndReason
) -> None:
    pool = Pool(**{option: 5})
    pool.totals = dict.fromkeys(CensusKind, 100)
    pool.totals[kind] = 4
    assert pool.room.limit_for(websocket=websocket) is None
    pool.totals[kind] = 5
    assert pool.room.limit_for(websocket=websocket) is reason
    pool.census = None
    assert pool.room.limit_for(websocket=websocket) is None


def test_without_the_option_there_is_no_limit() -> None:
    pool = Pool()
    pool.totals = dict.fromkeys(CensusKind, 1 << 30)
    assert pool.room.limit_for(websocket=False) is None
    assert pool.room.limit_for(websocket=True) is None
