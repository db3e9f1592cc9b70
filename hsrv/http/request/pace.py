"""How fast a request body must arrive. Pure.

A client that sends a byte now and then keeps any timeout for silence from acting. So the rate counts as well, over one
window of time after the other: what came fast in one doesn't excuse the next. Only the time in which we were ready to
read counts; an application that takes nothing is not the client's fault.
"""

import math


class Pace:
    """The body of one request. Times are those of the loop."""

    __slots__ = ("_bytes", "_rate", "_seconds", "_since", "_window")

    def __init__(self, rate: int, window: float) -> None:
        """`rate`: bytes per second; 0: any will do. `window`: seconds."""
        self._rate = rate
        self._window = window
        self._bytes = 0
        self._seconds = 0.0
        """Seconds of this window, up to `_since`."""
        self._since = math.inf
        """When the clock was started; inf: it stands."""

    def run(self, now: float) -> None:
        """We are ready to read from now on. May be called again."""
        if self._since == math.inf:
            self._since = now

    def pause(self, now: float) -> None:
        """We read nothing from now on. May be called again."""
        if self._since != math.inf:
            self._seconds += now - self._since
            self._since = math.inf

    def received(self, count: int) -> None:
        self._bytes += count

    def too_slow(self, now: float) -> bool:
        """Whether a window is over in which too little came. To be called now and then."""
        seconds = self._seconds + (now - self._since if self._since != math.inf else 0.0)
        if not self._rate or seconds < self._window:
            return False
        slow = self._bytes < self._rate * seconds
        self._bytes = 0
        self._seconds = 0.0
        if self._since != math.inf:
            self._since = now
        return slow
