"""A flood from beginning to end: an innocent event stream and an innocent client beside clients that do their worst."""

import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from hsrv.common.terms import Role
from hsrv.testing import LiveServer
from tests.integration.conftest import ROOT, reasons
from tests.integration.wire import Wire, request
from tests.siege.siege import NormalClient, Outcome

TICK = 0.05
"""Seconds between two events of the innocent stream."""

FLOODS = {
    "messages": {"unfinished": 60, "uncompressed": 40},
    "frames": {"pings": 50, "empty fragments": 30, "small fragments": 20},
    "bombs": {"bombs": 100},
    "claims": {"computing": 100},
    "chunks": {"small chunks": 100},
    "all": {
        "unfinished": 15,
        "uncompressed": 10,
        "pings": 20,
        "empty fragments": 10,
        "small fragments": 10,
        "bombs": 20,
        "small chunks": 15,
    },
}
"""100 clients each. Of `claims` what is measured begins when it is known that the path is no stream: before that, two
seconds of flood."""

COMPUTING = "claims"
"""Whoever makes the application compute in every worker makes others wait for it: of this flood only the streams are
free."""

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
                self._wire.buffer.clear()
                self._at.append(time.perf_counter())
        except (OSError, EOFError) as error:
            self.failure = repr(error)

    def finish(self) -> list[float]:
        """The gaps."""
        self._over = True
        self.join()
        self._wire.sock.close()
        return [later - earlier for earlier, later in zip(self._at, self._at[1:], strict=False)]


def memory(server: LiveServer) -> int:
    """Of workers and pool."""
    return sum(
        psutil.Process(child.pid).memory_info().rss
        for role in (Role.WORKER, Role.POOL)
        for child in server.children(role)
    )


def flood(
    server: LiveServer, counts: dict[str, int], *, seconds: float, quiet: float, warm: float = 0.0
) -> Flooded:
    """Measure quiet for `quiet` seconds, then flood for `seconds`, and look a second later what is left of it.

    `warm`: seconds of flood before, so that what is allocated once is not taken for a leak.
    """
    found, outcome = Flooded(), Outcome()
    client = NormalClient(server, outcome)
    client.ask_for(quiet, [])
    client.ask_for(quiet, found.quiet)
    if warm:
        _flooders(server, counts, warm).communicate()
        time.sleep(2 * SETTLED)
    listener = Listener(server)
    listener.start()
    found.memory_before = found.memory_most = memory(server)
    with _flooders(server, counts, seconds) as flooders:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.ask_for(min(0.2, seconds / 4), found.besieged)
            found.memory_most = max(found.memory_most, memory(server))
        found.gaps = listener.finish()
        said = flooders.communicate()[0].splitlines()
    found.ends = _last(said)
    time.sleep(SETTLED)  # what is measured is what is left after so long
    found.memory_after = memory(server)
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


CODES = {"pings": "1008", "empty fragments": "1008", "bombs": "1009"}
"""How these must be ended, every time."""

REASONS = {"1008": "flood", "1009": "protocol_error"}
"""How that is counted."""

TICK_GAP = 0.1
SLOWER = 3.0
GROWN = 0.1
"""What is promised beside a flood: the gap between two ticks and the times by which a request takes longer, both of 99
in 100, and the share by which workers and pool have grown a second after."""


def numbers(found: Flooded, *, computing: bool = False) -> Iterator[tuple[str, bool]]:
    """What a flood did to the innocent, and whether it is as promised."""
    gap, quiet, besieged = p(0.99, found.gaps), p(0.99, found.quiet), p(0.99, found.besieged)
    yield f"gap between ticks: p99 {gap * 1000:.0f} ms", gap <= TICK_GAP
    yield (
        f"client p99: quiet {quiet * 1000:.2f} ms, flooded {besieged * 1000:.2f} ms",
        computing or besieged <= SLOWER * quiet,
    )
    before, most, after = (
        size >> 20 for size in (found.memory_before, found.memory_most, found.memory_after)
    )
    kept = found.memory_after <= (1 + GROWN) * found.memory_before
    yield f"memory: {before} MiB, at most {most} MiB, then {after} MiB", kept


def unended(found: Flooded) -> Iterator[str]:
    """What is not as it must be, whatever the machine."""
    for kind, code in CODES.items():
        ends = {end: count for end, count in found.ends.items() if end.startswith(f"{kind}: ")}
        if ends and not ends.get(f"{kind}: {code}"):
            yield f"{kind}: {ends}"
        if ends and not found.counted[REASONS[code]]:
            yield f"nothing is counted as {REASONS[code]}"
