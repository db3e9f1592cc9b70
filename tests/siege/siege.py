"""A siege from beginning to end: quiet, besieged, and what became of everybody."""

import json
import math
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Self

import psutil

from hsrv.common.terms import Role
from hsrv.testing import LiveServer
from tests.integration.conftest import ROOT, reasons
from tests.integration.wire import Wire, eventually, request

PATIENCE = 60.0
"""Seconds for the besiegers to come or to go."""

THINK = 0.005
"""Seconds between two requests of the normal client."""

FULL = {"slow heads": 2000, "slow bodies": 500, "slow readers": 500, "idle": 500}


@dataclass
class Outcome:
    """What a siege has shown. Times in seconds, memory in bytes."""

    quiet: list[float] = field(default_factory=list)
    """Latencies of the normal client."""
    besieged: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What the normal client should not have seen."""
    memory_before: int = 0
    memory_most: int = 0
    ends: dict[str, dict[str, int]] = field(default_factory=dict)
    """By kind of besieger: how they were ended, as they saw it."""
    longest: dict[str, int] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    """By reason, as the server saw it."""

    def p(self, share: float, latencies: list[float]) -> float:
        return sorted(latencies)[math.ceil(share * len(latencies)) - 1]


class NormalClient:
    """Asks, reads, thinks. Every tenth request comes on a new connection."""

    def __init__(self, server: LiveServer, outcome: Outcome) -> None:
        self._server = server
        self._outcome = outcome
        self._wire: Wire | None = None
        self._asked = 0

    def ask(self, latencies: list[float]) -> None:
        began = time.perf_counter()
        try:
            if self._wire is None:
                self._wire = Wire(self._server.host, self._server.port)
            self._wire.send(request("/"))
            status = self._wire.response().status
            if status != 200:
                self._outcome.failures.append(f"status {status}")
        except (OSError, EOFError) as error:
            self._outcome.failures.append(repr(error))
            self.close()
        latencies.append(time.perf_counter() - began)
        self._asked += 1
        if self._asked % 10 == 0:
            self.close()

    def ask_for(self, seconds: float, latencies: list[float]) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.ask(latencies)
            time.sleep(THINK)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.sock.close()
            self._wire = None


class Host:
    """The besiegers' process."""

    def __init__(self, server: LiveServer, counts: dict[str, int]) -> None:
        command = [sys.executable, "-m", "tests.siege.besiegers", server.host, str(server.port)]
        command += [f"{kind}={count}" for kind, count in counts.items()]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin: IO[str] = self._process.stdin
        self._stdout: IO[str] = self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    def hear(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._stdout.readline())
        return said

    def enough(self) -> None:
        self._stdin.write("enough\n")
        self._stdin.flush()


def memory(server: LiveServer) -> int:
    """Of workers and pools: what is theirs alone, and their share of what is shared."""
    return sum(
        psutil.Process(child.pid).memory_full_info().pss
        for role in (Role.WORKER, Role.POOL)
        for child in server.children(role)
    )


def besiege(server: LiveServer, counts: dict[str, int], *, seconds: float) -> Outcome:
    """Measure quiet for `seconds`, then besiege, measure as long again once all are in place, and wait for the end."""
    outcome = Outcome()
    client = NormalClient(server, outcome)
    client.ask_for(min(1.0, seconds), [])
    client.ask_for(seconds, outcome.quiet)
    outcome.memory_before = outcome.memory_most = memory(server)
    with Host(server, counts) as host:
        host.hear()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.ask_for(min(1.0, seconds / 4), outcome.besieged)
            outcome.memory_most = max(outcome.memory_most, memory(server))
        client.close()  # or it would be cut as idle while the last besiegers are
        host.enough()
        said = host.hear()
    outcome.ends, outcome.longest = said["ends"], said["longest"]
    client.ask_for(0.2, [])
    client.close()
    cut = sum(sum(ends.values()) for ends in outcome.ends.values())
    eventually(lambda: counted(server, outcome) >= cut, "all are counted", PATIENCE)
    return outcome


CUTS = {
    "slow heads": ("head_timeout",),
    "slow bodies": ("body_timeout", "body_rate"),
    "slow readers": ("send_timeout",),
    "idle": ("idle_timeout", "first_byte_timeout"),
}
"""The reasons for which each kind is cut."""


def counted(server: LiveServer, outcome: Outcome) -> int:
    outcome.counted = reasons(server)
    return sum(outcome.counted[reason] for names in CUTS.values() for reason in names)


def wrongs(outcome: Outcome) -> Iterator[str]:
    """What is not as it must be, whatever the machine."""
    yield from outcome.failures
    for kind, names in CUTS.items():
        ends = outcome.ends.get(kind, {})
        by_server = sum(outcome.counted[name] for name in names)
        if by_server != sum(ends.values()):
            yield f"{kind}: {ends}, but the server has counted {by_server}"
        unexpected = set(ends) - EXPECTED[kind]
        if unexpected:
            yield f"{kind}: ended as {unexpected}"


EXPECTED = {
    "slow heads": {"408"},
    "slow bodies": {"408"},
    "slow readers": {"reset"},
    "idle": {"closed"},
}
"""What each kind must see."""


@contextmanager
def fortress(**options: Any) -> Iterator[LiveServer]:
    with LiveServer("tests.apps.raw:app", cwd=ROOT, workers=2, access_log=False, **options) as server:
        yield server


def raise_limit() -> None:
    """As many descriptors as are to be had."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
