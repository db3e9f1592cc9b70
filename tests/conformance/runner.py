"""Cases over real sockets, in every split at once, and what was wrong with them.

Each piece goes out when the server has read the one before: at a Unix socket the kernel tells. TCP gets the whole.
"""

import errno
import fcntl
import json
import re
import select
import socket
import struct
import termios
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

from hsrv.testing import LiveServer
from tests.conformance.case import OK, PROBE, PROBED, After, Answer, Case, P, Seen
from tests.conformance.reader import Response, ResponseReader, WireFault

DEADLINE = 30.0
"""Seconds that a batch of cases may take. A bound against hanging, not a measure."""

FEW_SPLITS = 3

BYTEWISE = 160
"""Bytes up to which a case is also sent byte by byte."""

PLACES = {"worker": "/work/", "pool": "/pool/"}
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)


@dataclass
class World:
    """The server and what its application recorded."""

    server: LiveServer
    unix: Path
    record: Path
    parser: str
    numbers: Iterator[int] = field(default_factory=count)
    expected: Counter[str] = field(default_factory=Counter)
    """Calls of the application that are right, over all cases."""
    _read: int = 0

    def new_calls(self) -> Counter[str]:
        """Calls of the application since the last look."""
        if not self.record.exists():
            return Counter()
        with self.record.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        return Counter(data.decode("latin-1").split("\n")[:-1])

    def wait_for_log(self, event: str, path: str) -> None:
        """Until the server has logged `event` for `path`."""
        self.server.wait_for_log(lambda entry: entry["event"] == event and entry["path"].startswith(path))


def splits(data: str) -> Iterator[tuple[str, list[int]]]:
    """Names, and where to cut. The probe is not part of `data`."""
    size = len(data)
    head = data.find("\r\n\r\n") + 4
    lines = [match.end() for match in re.finditer("\n", data)]
    yield "by line", lines if len(lines) < 200 else [head]
    cuts = {1, size // 3, size // 2, 2 * size // 3, head - 3, head - 2, head - 1, head, size - 1}
    for cut in sorted(cut for cut in cuts if 0 < cut < size):
        yield f"cut at {cut}", [cut]
    if size <= BYTEWISE:
        yield "byte by byte", list(range(1, size))


def failures(cases: Sequence[Case], place: str, world: World, *, every_split: bool = True) -> list[str]:
    """Run the cases in every split, all at once; a line for each thing that went wrong. Not in every split: whole, by
    line and cut within the head."""
    most = None if every_split else FEW_SPLITS
    runs = {index: list(islice(_runs(case, place, world), most)) for index, case in enumerate(cases)}
    everything = [run for some in runs.values() for run in some]
    try:
        _drive(everything)
        found = [f"{run.title}: {fault}{run.told}" for run in everything for fault in run.faults()]
    finally:
        for run in everything:
            run.sock.close()
    calls = world.new_calls()
    for case, some in zip(cases, runs.values(), strict=True):
        label = _label(case, place, world)
        expected = Counter(call for run in some for call in run.calls())
        seen = Counter({call: n for call, n in calls.items() if any(run.path in call for run in some)})
        seen |= expected & Counter({call: n for call, n in expected.items() if call.endswith(" *")})
        world.expected += expected
        if seen != expected:
            found.append(f"{label}: called {seen - expected}, not called {expected - seen}")
        statuses = {run.statuses for run in some}
        if len(statuses) > 1 and not case.silent:
            found.append(f"{label}: splits differ: {statuses}")
        if case.log is not None and not found:
            for run in some:
                world.wait_for_log(case.log, run.path)
    return found


def _runs(case: Case, place: str, world: World) -> Iterator["_Run"]:
    yield _Run(case, place, "whole", None, world)
    for name, cuts in splits(case.data):
        yield _Run(case, place, name, cuts, world)


def _label(case: Case, place: str, world: World) -> str:
    return f"{case.name} (RFC {case.rfc}) [{place}, parser {world.parser}]"


def _drive(runs: list["_Run"]) -> None:
    """Until all are done, or the deadline."""
    end = time.monotonic() + DEADLINE
    active = runs
    while active and time.monotonic() < end:
        moved = [run.step() for run in active]
        active = [run for run in active if not run.done]
        if active and not any(moved):
            select.select([run.sock for run in active], [], [], 0.00005)


class _Run:
    """One connection."""

    def __init__(
        self,
        case: Case,
        place: str,
        split: str,
        cuts: list[int] | None,
        world: World,
    ) -> None:
        self.case = case
        self.path = f"{PLACES[place]}{next(world.numbers):06x}"
        self.place = place
        self.title = f"{_label(case, place, world)} [{split}]"
        self._unix = cuts is not None
        tail = PROBE if case.probe and not case.stalls else ""
        data = self._bytes(case.data)
        first = [data[start:end] for start, end in pairwise([0, *(cuts or ()), len(data)])]
        after = [self._bytes(text) for text in (case.later, tail) if text]
        if not case.later:
            first = [*first, *after] if cuts is not None else [b"".join([data, *after])]
        self._pieces = [piece for piece in first if piece]
        self._later = after if case.later else []
        self.expected = [*case.answers, *([PROBED] if case.after is After.OPEN else [])]
        modern = not any(answer.seen is not None and answer.seen.version == "1.0" for answer in case.answers)
        self.reader = ResponseReader(
            [answer.method for answer in self.expected], modern=modern and " HTTP/1.0\r\n" not in case.data
        )
        self.ended: str | None = None
        self.fault: str | None = None
        self._shut = False
        self.sock = socket.socket(socket.AF_UNIX if self._unix else socket.AF_INET)
        self.sock.connect(str(world.unix) if self._unix else (world.server.host, world.server.port))
        self.sock.setblocking(False)

    def _bytes(self, text: str) -> bytes:
        return text.replace(P, self.path).encode("latin-1")

    # bytes

    @property
    def done(self) -> bool:
        if self.ended is not None or self.fault is not None:
            return True
        sent = not self._pieces and not self._later
        return sent and self.case.after is After.OPEN and len(self.reader.final) >= len(self.expected)

    def step(self) -> bool:
        """Receive and send what can be; whether anything was."""
        moved = self._receive()
        if self.reader.begun and self._later:
            self._pieces += self._later
            self._later = []
        if self._pieces and not self._unread():
            return self._send() or moved
        if not self._pieces and not self._later and not self.case.probe and not self._shut:
            self._shut = True
            self._shutdown()
        return moved

    def _unread(self) -> bool:
        """The server has not read all of what was sent."""
        if not self._unix:
            return False
        size = fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0\0\0\0")
        return bool(struct.unpack("i", size)[0])

    def _receive(self) -> bool:
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data, self.ended = b"", "reset"
        try:
            self.reader.feed(data)
            if not data:
                self.ended = self.ended or "end"
                self._drain()
                self.reader.end()
        except WireFault as fault:
            self.fault = str(fault)
        return True

    def _drain(self) -> None:
        """Send also what a client would that doesn't notice the end."""
        self._pieces += self._later
        self._later = []
        end = time.monotonic() + DEADLINE
        while self._pieces and time.monotonic() < end:
            select.select([], [self.sock], [], 1)
            self._send()

    def _send(self) -> bool:
        try:
            sent = self.sock.send(self._pieces[0])
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._pieces.clear()
            self._later.clear()
            return True
        self._pieces[0] = self._pieces[0][sent:]
        if not self._pieces[0]:
            del self._pieces[0]
        return True

    def _shutdown(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    # judgement

    @property
    def statuses(self) -> tuple[int, ...]:
        return tuple(response.status for response in self.reader.final)

    @property
    def told(self) -> str:
        return f"; answers {list(self.statuses)}, {self.ended or 'open'}"

    def calls(self) -> list[str]:
        return [call.replace(P, self.path) for answer in self.expected for call in answer.calls]

    def faults(self) -> Iterator[str]:
        if self.fault is not None:
            yield self.fault
            return
        if not self.done:
            yield "did not end in time"
        responses, expected = self.reader.final, self.expected
        if len(responses) != len(expected) and not (self.case.silent and len(responses) == len(expected) - 1):
            yield f"{len(expected)} answers expected: {[sorted(answer.status) for answer in expected]}"
        if self.case.after is After.CLOSED and self.ended != "end" and not self._asked_to_close():
            yield "no clean end"
        if self.case.after is After.OPEN and self.ended is not None:
            yield "closed"
        for response, answer, interim in zip(responses, expected, self.reader.interim, strict=False):
            yield from self._judge(response, answer, interim)

    def _asked_to_close(self) -> bool:
        """An orderly close: who sends on after that may see a reset (RFC 9112 section 9.6)."""
        return self.ended == "reset" and all(answer.status == OK for answer in self.expected)

    def _judge(self, response: Response, answer: Answer, interim: list[int]) -> Iterator[str]:
        if response.status not in answer.status:
            yield f"{response.status} ({response.body[:80]!r}) instead of {sorted(answer.status)}"
            return
        if response.complete is answer.cut:
            yield "complete" if answer.cut else "cut"
        if answer.interim is not None and tuple(interim) != answer.interim:
            yield f"interim {interim} instead of {answer.interim}"
        if answer.framing is not None and response.framing is not answer.framing:
            yield f"framed by {response.framing} instead of {answer.framing}"
        if answer.body is not None and response.body != self._bytes(answer.body):
            yield f"body {response.body[:80]!r} instead of {answer.body[:80]!r}"
        for name, value in answer.headers.items():
            if response.text(name) != value:
                yield f"{name}: {response.text(name)!r} instead of {value!r}"
        if answer.seen is not None and answer.method != "HEAD":
            yield from self._compare(json.loads(response.body), answer.seen)

    def _compare(self, echo: dict[str, Any], seen: Seen) -> Iterator[str]:
        for key in ("method", "path", "query", "version", "body"):
            value = getattr(seen, key).replace(P, self.path)
            if echo[key] != value:
                yield f"saw {key} {echo[key][:200]!r} instead of {value[:200]!r}"
        pairs: dict[str, list[str]] = {}
        for name, value in echo["headers"]:
            pairs.setdefault(name, []).append(value)
        for name, wanted in seen.headers.items():
            got = "|".join(pairs[name]) if name in pairs else None
            if got != (wanted and wanted.replace(P, self.path)):
                yield f"saw {name}: {got!r} instead of {wanted!r}"
        if seen.only is not None and pairs.keys() != seen.only:
            yield f"saw the fields {sorted(pairs)}"
        if seen.path.startswith(P) and echo["role"] != self.place:
            yield f"ran in the {echo['role']}"
