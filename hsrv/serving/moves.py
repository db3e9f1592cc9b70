"""Connections between two requests that move to another process, each for one of a few reasons.

Promise: one that finds no room in its channel stays and is served here; the caller tries again.
"""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from hsrv.board.layout import Count
from hsrv.board.scoreboard import Scoreboard
from hsrv.http.contract import Connection, Outcome
from hsrv.http.observer import Observer, give
from hsrv.http.states import GIVEABLE
from hsrv.ipc.channel import Channel, ChannelError
from hsrv.ipc.messages import Adoption, encode
from hsrv.net.conn import Conn


class Reason(Enum):
    """Why it moves."""

    IDLE = auto()
    """It has been idle for --park-after: the pool holds it at less cost."""
    LONG = auto()
    """A long call begins, or was its last request: the pool reads its next one, and any worker may run it."""
    BLOCKED = auto()
    """The event loop is blocked; the pool reads the next request, even if that has arrived here unread."""
    DRAIN = auto()
    """This process ends."""

    __hash__ = object.__hash__


_COUNTS: Final = {Reason.IDLE: Count.PARKED, Reason.LONG: Count.PARKED, Reason.BLOCKED: Count.RESCUED}


class Moves:
    """Moves connections of this process: over the handoff channel to a pool, over the adopt channel to a worker."""

    def __init__(self, handoff: Channel, adopt: Channel, board: Scoreboard) -> None:
        self._handoff = handoff
        self._adopt = adopt
        self._board = board
        self.pool_available = True
        """Whether a pool reads the handoff channel."""

    def move(self, connection: Connection, reason: Reason) -> Outcome:
        """Move a connection in a state of `GIVEABLE`. HERE: no room at present."""
        try:
            if reason is Reason.DRAIN or not self.pool_available:
                connection.give(self._adopt, connection.adoption(), "adopt")
            else:
                connection.give(self._handoff, connection.parking(), "parked")
        except ChannelError:
            return Outcome.HERE
        if reason in _COUNTS:
            self._board.count(_COUNTS[reason])
        return Outcome.ELSEWHERE

    def move_all(self, connections: Iterable[Connection], reason: Reason) -> int:
        """Move all that can be moved. Returns how many were."""
        waiting = [connection for connection in connections if connection.state in GIVEABLE]
        return sum(self.move(connection, reason) is Outcome.ELSEWHERE for connection in waiting)

    def pass_on(self, conn: Conn, message: Adoption, observer: Observer | None) -> Outcome:
        """Move a connection that has just come over the adopt channel to the next process. HERE: no room; then it is
        still ours, unwatched."""
        try:
            give(conn, self._adopt, encode(message), "adopt", observer)
        except ChannelError:
            return Outcome.HERE
        return Outcome.ELSEWHERE
