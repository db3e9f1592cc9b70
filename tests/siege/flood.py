"""A flood from beginning to end: an innocent event stream and an innocent client beside clients that do their worst."""

import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil

from hsrv.terms import Role
from hsrv.testing import LiveServer
from tests.integration.conftest import ROOT, reasons
from tests.integration.wire import Wire, request
from tests.siege.siege import NormalClient, Outcome

TICK = 0.05
"""Seconds between two events of the innocent stream."""

FULL = {
    "unfinished": 15,
    "uncompressed": 10,
    "pings": 25,
    "empty fragments": 15,
    "small fragments": 10,
    "bombs": 25,
}

SETTLED = 1.0
"""Seconds after the flood within which its memory must be free."""


@dataclass
class Flooded:
    """What a flood has shown. Times in seconds, memory in bytes."""

    quiet: list[float] = field(default_factory=list)
    """Latencies of the innocent client."""
    besieged: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    """Between the events of the innocent stream, meanwhile."""
    failures: list[str] = field(default_factory=list)
    memory_before: int = 0
    memory_most: int = 0
    memory_after: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    """As the flooders saw them."""
    counted: Counter[str] = field(default_factory=Counter)
    """By reason, as the server saw it."""


class Listener(threading.Thread):
    """The innocent stream."""

    def __init__(self, server: LiveServer) -> None:
        super().__init__(daemon=True)
        self._wire = Wire(server.host, server.port)
        self._wire.send(request(f"/sse?interval={TICK}", "Accept: text/event-stream"))
        self._wire.head()
        self._wire.more()
        self._over = False
        self._at: list[float] = []
        self.failure: str | None = None

    def run(self) -> None:
        try:
            while not self._over:
                self._wire.more()
                self._wire.buffer = b""
                self._at.append(time.perf_counter())
        except (OSError, EOFError) as error:
            self.failure = repr(error)

    def finish(self) -> list[float]:
        """The gaps."""
        self._over = True
        self.join()
        self._wire.sock.close()
        return [later - earlier for earlier, later in zip(self._at, self._at[1:], strict=False)]


def pool_memory(server: LiveServer) -> int:
    return sum(psutil.Process(child.pid).memory_info().rss for child in server.children(Role.POOL))


def flood(server: LiveServer, counts: dict[str, int], *, seconds: float, quiet: float) -> Flooded:
    """Measure quiet for `quiet` seconds, then flood for `seconds`, and look a second later what is left of it."""
    found, outcome = Flooded(), Outcome()
    client = NormalClient(server, outcome)
    client.ask_for(quiet, [])
    client.ask_for(quiet, found.quiet)
    _flooders(server, counts, 1.0).communicate()  # what is allocated once is no leak
    listener = Listener(server)
    listener.start()
    found.memory_before = found.memory_most = pool_memory(server)
    with _flooders(server, counts, seconds) as flooders:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.ask_for(min(0.2, seconds / 4), found.besieged)
            found.memory_most = max(found.memory_most, pool_memory(server))
        found.gaps = listener.finish()
        said = flooders.communicate()[0].splitlines()
    found.ends = _last(said)
    time.sleep(SETTLED)  # what is measured is what is left after so long
    found.memory_after = pool_memory(server)
    found.counted = reasons(server)
    found.failures = [*outcome.failures, *([listener.failure] if listener.failure else [])]
    client.close()
    return found


def _flooders(server: LiveServer, counts: dict[str, int], seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.siege.flooders", server.host, str(server.port), str(seconds)]
    command += [f"{kind}={count}" for kind, count in counts.items()]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _last(lines: list[str]) -> dict[str, int]:
    said: dict[str, Any] = json.loads(lines[-1])
    return said


def p(share: float, values: list[float]) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else math.inf
