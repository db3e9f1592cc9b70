"""What happened when: what clients saw, and what was done to the server."""

import math
import threading
import time
from dataclasses import dataclass, field
from enum import Enum, auto


class End(Enum):
    """How a request ended, as its client saw it."""

    OK = auto()
    """The whole answer came."""
    REFUSED = auto()
    """An answer came that was not 200."""
    LOST = auto()
    """The connection ended before the answer did."""
    STUCK = auto()
    """Neither came within the client's patience."""
    LEFT = auto()
    """The client went away itself, or sent what is no request."""


@dataclass
class Request:
    """One request of one client."""

    key: str
    kind: str
    since: float
    """When its connection was last known to be alive: it was opened, or asked what was answered later."""
    began: float
    ended: float = 0.0
    end: End = End.LEFT
    detail: str = ""


@dataclass(frozen=True)
class Kill:
    at: float
    pid: int
    role: str


@dataclass
class Timeline:
    """Written by all threads of a storm."""

    began: float = field(default_factory=time.monotonic)
    events: list[tuple[float, str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    terminated_at: float = math.inf
    """When the server was told to stop."""
    wrong: list[str] = field(default_factory=list)
    """Violations that were seen as they happened."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def event(self, text: str) -> None:
        with self._lock:
            self.events.append((time.monotonic(), text))

    def violation(self, text: str) -> None:
        with self._lock:
            self.wrong.append(f"{time.monotonic() - self.began:8.3f} {text}")

    def killed(self, pid: int, role: str) -> None:
        """Call it before the kill: what the kill leads to must not look older."""
        with self._lock:
            self.kills.append(Kill(time.monotonic(), pid, role))

    def terminated(self) -> None:
        self.event("TERM")
        self.terminated_at = time.monotonic()

    def request(self, key: str, kind: str, since: float) -> Request:
        made = Request(key, kind, since, time.monotonic())
        with self._lock:
            self.requests.append(made)
        return made

    def lines(self) -> list[str]:
        return [f"{at - self.began:8.3f} {text}" for at, text in self.events]
