"""State machines as transition tables: an illegal transition raises and changes nothing. Pure."""

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)

Table = Mapping[S, Mapping[E, S]]


class IllegalMoveError(RuntimeError):
    """An event that the current state doesn't allow: always a defect of hsrv, never of a peer."""


class Machine(Generic[S, E]):
    """A state and its transition table."""

    __slots__ = ("state", "table")

    def __init__(self, table: Table[S, E], state: S) -> None:
        self.table = table
        self.state = state

    def move(self, event: E) -> S:
        """Take `event` and return the new state. Raises `IllegalMoveError`."""
        try:
            self.state = self.table[self.state][event]
        except KeyError:
            raise IllegalMoveError(f"{event} is not allowed in {self.state}") from None
        return self.state
