"""One storm, from start to end, and what it violated."""

import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psutil

from hsrv.testing import STOP_TIMEOUT
from tests.chaos.clients import Address, Client
from tests.chaos.judge import Judge
from tests.chaos.operators import DISTURBERS
from tests.chaos.profiles import Profile
from tests.chaos.server import StormServer
from tests.chaos.timeline import End, Timeline
from tests.integration.wire import Wire, eventually, masked, request, upgrade

CALM: Final = 60.0
"""Seconds in which everything must be as before, once the storm is over."""

GROWTH: Final = 48 << 20
"""Bytes by which a process may have grown. A leak of 1 KiB per request would be more, in a long storm."""

LAST_CLIENTS: Final = 8
"""Those that are there when the server is told to stop."""

NOTABLE: Final = (
    "reloaded",
    "scaled",
    "process died",
    "out of descriptors",
    "request shed",
    "handoffs moved",
)
"""Lines whose number the summary tells: what of the server a storm has reached."""

LAST_EVENTS: Final = 200
LAST_LINES: Final = 400


class Storm:
    def __init__(self, profile: Profile, seed: int, seconds: float) -> None:
        self.profile = profile
        self.seed = seed
        self.seconds = seconds
        self.timeline = Timeline()

    def run(self) -> list[str]:
        """What was violated; each with the lines that prove it."""
        with tempfile.TemporaryDirectory(prefix="hsrv-chaos-") as folder:
            self.server = StormServer(self.profile, Path(folder))
            self.addresses: list[Address] = []
            with self.server:
                self.addresses = [(self.server.host, self.server.port)] * 3 + [str(self.server.unix)]
                family = self._weather()
            after = list(self._left(family))
            judge = Judge(
                self.timeline,
                [line for line in self.server.record.read_text().splitlines() if not line.startswith("up ")],
                self.server.logs,
                has_log=not self.profile.full_disk,
            )
            return [*judge.violations(), *after]

    def _weather(self) -> set[psutil.Process]:
        timeline, stop, calm = self.timeline, threading.Event(), threading.Event()
        clients = [
            Client(number, f"{self.seed}/{number}", self.addresses, timeline, stop)
            for number in range(self.profile.clients)
        ]
        before = self._warm(clients)
        ghosts = [kind(self.server, timeline, self.seed, calm) for kind in DISTURBERS]
        for thread in [*clients, *ghosts]:
            thread.start()
        stop.wait(self.seconds)
        calm.set()
        timeline.event("the storm ends")
        for ghost in ghosts:
            ghost.join(100)
        stop.set()
        for client in clients:
            client.join(100)
            if client.is_alive():
                timeline.violation(f"{client.name} never came to an end")
        self._calm_down(clients, before)
        return self._stop()

    # before and after

    def _warm(self, clients: list[Client]) -> "Picture":
        """What everything is like once each process has done a bit of everything."""
        self._serve_all(clients)
        picture = Picture(self.server)
        eventually(picture.is_stable, "the server settles")
        return picture

    def _serve_all(self, clients: list[Client]) -> None:
        with ThreadPoolExecutor(len(clients)) as threads:
            list(threads.map(Client.epilogue, clients))

    def _calm_down(self, clients: list[Client], before: "Picture") -> None:
        done = self.server.command("scale", str(self.profile.workers))
        if done.returncode:
            self.timeline.violation(f"scale after the storm: {done.returncode} {done.stderr}")
        now = before
        try:
            eventually(
                lambda: Picture(self.server).roles == before.roles, "as many processes as before", CALM
            )
            self._serve_all(clients)
            now = Picture(self.server)
            eventually(
                lambda: now.is_stable() and not list(now.excess(before)), "descriptors as before", CALM
            )
        except AssertionError as error:
            self.timeline.violation(f"{error}: {before.roles} then, {Picture(self.server).roles} now")
            for excess in now.excess(before):
                self.timeline.violation(excess)
        for role, size in self.server.memory().items():
            if size > before.memory.get(role, 0) + GROWTH:
                self.timeline.violation(
                    f"{role} has grown from {before.memory.get(role, 0):,} to {size:,} bytes"
                )

    def _stop(self) -> set[psutil.Process]:
        """TERM amid requests, a stream and a WebSocket; each ends as it should."""
        family, stop = self.server.seen_processes(), threading.Event()
        numbers = range(self.profile.clients, self.profile.clients + LAST_CLIENTS)
        clients = [
            Client(number, f"{self.seed}/{number}", self.addresses, self.timeline, stop) for number in numbers
        ]
        for client in clients:
            client.start()
        stop.wait(1)
        self._end_streams()
        try:
            self.server.process.wait(STOP_TIMEOUT)
            code = self.server.stop()
        except subprocess.TimeoutExpired:
            self.timeline.violation(f"TERM: not over within {STOP_TIMEOUT:g} s")
        except RuntimeError as error:
            self.timeline.violation(f"TERM: {error}")
        else:
            if code != 0:
                self.timeline.violation(f"exit code {code}")
        stop.set()
        for client in clients:
            client.join(100)
        return family

    def _end_streams(self) -> None:
        host, port = self.server.host, self.server.port
        with Wire(host, port) as stream, Wire(host, port) as websocket:
            stream.send(request("/sse/up/1000", "Accept: text/event-stream"))
            stream.head()
            stream.chunk()
            websocket.send(upgrade("/ws/up"))
            websocket.until(b'"up"')
            self.timeline.terminated()
            self.server.process.terminate()
            if not stream.chunked().endswith(b"\n\n"):
                self.timeline.violation("the last stream ends within an event")
            websocket.until(b"\x88")
            if websocket.exactly(3)[1:] != (1012).to_bytes(2, "big"):
                self.timeline.violation("the last WebSocket is not closed with 1012")
            websocket.send(masked(8, b"\x03\xf4"))

    def _left(self, family: set[psutil.Process]) -> Iterator[str]:
        """What is there and should not be, when the server has ended."""
        for process in family:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                yield f"left running: {process}"
        if self.server.unix.exists():
            yield f"left behind: {self.server.unix.name}"

    def report(self, violations: list[str]) -> str:
        """What a failure prints."""
        title = f"seed {self.seed}, profile {self.profile.name}, {self.seconds:g} s"
        log = [str(entry) for entry in self.server.logs if entry["event"] != "request"]
        return "\n".join([title, *self.timeline.lines()[-LAST_EVENTS:], *log[-LAST_LINES:], *violations])

    def summary(self) -> str:
        ends = Counter(request.end.name.lower() for request in self.timeline.requests)
        counts = ", ".join(f"{count} {end}" for end, count in ends.most_common())
        slowest = max(
            (one.ended - one.began for one in self.timeline.requests if one.end is End.OK), default=0
        )
        told = Counter(entry["event"] for entry in self.server.logs)
        events = ", ".join(f"{told[event]} {event}" for event in NOTABLE if told[event])
        return (
            f"{len(self.timeline.requests)} requests ({counts}; slowest {slowest:.1f} s), "
            f"{len(self.timeline.kills)} kills; {events}"
        )


class Picture:
    """Processes, descriptors and memory at one moment."""

    def __init__(self, server: StormServer) -> None:
        self._server = server
        self._take()

    def _take(self) -> None:
        self.shapes = self._server.shapes()
        self.memory = self._server.memory()

    @property
    def roles(self) -> dict[str, int]:
        return {role: len(shapes) for role, shapes in self.shapes.items()}

    def is_stable(self) -> bool:
        """Whether the descriptors are those of last time."""
        last = self.shapes
        self._take()
        return last == self.shapes

    def excess(self, before: "Picture") -> Iterator[str]:
        """What a process holds open more than any of its role did before."""
        for role, shapes in self.shapes.items():
            most: Counter[str] = Counter()
            for shape in before.shapes.get(role, []):
                most |= shape
            for shape in shapes:
                if shape - most:
                    yield f"{role} holds {dict(shape - most)} more than before"
