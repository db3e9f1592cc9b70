"""The drain of a worker or pool: its budgets, its age, and its end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hsrv.net.waiting import after
from hsrv.rpc.methods import DrainParams


class Drain:
    """Begins once; may be told shorter budgets; ends once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = 0.0
        self._over = asyncio.Event()
        self.params: DrainParams | None = None
        """None until it begins."""
        self.is_on = False
        """It has begun."""
        self.moves_connections = False
        """It has begun, and idle connections move to other processes instead of being closed."""

    def begin(self, params: DrainParams) -> bool:
        """Begin, or go on with other budgets. False: the present ones stay, because these are not shorter. That is so
        when the supervisor died after its request: the end of file on the control channel asks again."""
        if self.params is not None and not params.is_shorter_than(self.params):
            return False
        if self.params is None:
            self._began = self._loop.time()
        self.params = params
        self.is_on, self.moves_connections = True, params.adopt
        return True

    def age(self, now: float) -> float:
        """Seconds since it began. `now`: loop.time()"""
        return now - self._began

    def end(self) -> None:
        """Nothing is left to finish, or the budget is over. May be called again."""
        self._over.set()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def over(self, action: Callable[[], None]) -> Coroutine[Any, Any, None]:
        """To be awaited: wait for the end, then act."""
        return after(self._over, action)
