"""Room in a pool for streams, WebSockets and parked connections: free descriptors, and the limits of options."""

import math
from typing import Final

from hsrv.asyncpool.parking import ParkingLot
from hsrv.asyncpool.websockets import WebSockets
from hsrv.board.census import CensusKind
from hsrv.common.terms import EndReason
from hsrv.http.host import HTTPHost

ROOM_WANTED: Final = 16
"""Parked connections that are closed when a stream finds no descriptor: closing one at a time would cost
more."""


class PoolRoom:
    """Room for connections in a pool (`hsrv.serving.accept.Room`): parked ones are closed to make it."""

    def __init__(self, host: HTTPHost, websockets: WebSockets, lot: ParkingLot) -> None:
        self._host = host
        self._websockets = websockets
        self._lot = lot
        self._full_since = math.inf
        """loop.time() since which no descriptor has been free."""

    def has_room(self) -> bool:
        connections = len(self._host.connections) + len(self._websockets) + len(self._lot)
        return connections < self._host.most_connections

    def make_room(self, count: int = ROOM_WANTED) -> int:
        """Close the connections that have been parked for longest: a stream matters more."""
        closed = self._lot.evict(count)
        for _ in range(closed):
            self._host.count(EndReason.DESCRIPTORS)
        return closed

    def receives(self) -> bool:
        """Whether to receive the next handoff. Those for a full pool wait in the channel for --handoff-timeout, and are
        then received to be refused."""
        if self.has_room() or self.make_room():
            self._full_since = math.inf
            return True
        now = self._host.loop.time()
        self._full_since = min(self._full_since, now)
        return now - self._full_since >= self._host.settings.handoff_timeout

    def limit_for(self, *, websocket: bool) -> EndReason | None:
        """The limit that forbids one more; None: there is room."""
        if not self.has_room() and not self.make_room():
            return EndReason.DESCRIPTORS
        census, settings = self._host.census, self._host.settings
        if census is None:
            return None
        if websocket:
            most, kind, reason = (
                settings.limit_websockets,
                CensusKind.WEBSOCKETS,
                EndReason.LIMIT_WEBSOCKETS,
            )
        else:
            most, kind, reason = settings.limit_streams, CensusKind.STREAMS, EndReason.LIMIT_STREAMS
        return reason if most and census.total(kind) >= most else None
