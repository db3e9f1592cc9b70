"""Clients of every kind, one thread each. Each request has a key of its own; what became of it is in the timeline."""

import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tests.chaos.timeline import End, Request, Timeline
from tests.integration.wire import Response, Wire, masked, request, upgrade

PATIENCE: Final = 45.0
"""Seconds without a byte after which a client counts as stuck."""

UPLOAD: Final = b"0123456789abcdef" * 65536
"""1 MiB."""

EVENT_STREAM: Final = "Accept: text/event-stream"
RESET: Final = struct.pack("ii", 1, 0)

Address = tuple[str, int] | str


class Line(Wire):
    """A connection over TCP or a Unix socket, and what is asked on it."""

    def __init__(self, address: Address) -> None:
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE)
            try:
                self.sock.connect(address)
            except OSError:
                self.sock.close()
                raise
        else:
            self.sock = socket.create_connection(address, timeout=PATIENCE)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.open: list[Request] = []
        """Asked and not answered, in order."""
        self.alive_at = time.monotonic()
        self.generation = 0
        self.closing = False
        """The server said that it is the last answer."""


class Client(threading.Thread):
    """Sessions, one after the other, until `stop`; then one of each kind that must succeed."""

    def __init__(
        self, number: int, seed: str, addresses: list[Address], timeline: Timeline, stop: threading.Event
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.number = number
        self.dice = random.Random(seed)
        self.addresses = addresses
        self.timeline = timeline
        self.stop = stop
        self.asked = 0
        self.answered = 0
        polite: list[tuple[Callable[[Line], bool], int]] = [
            (self.plain, 10),
            (self.waiting, 4),
            (self.pipelined, 4),
            (self.byte_by_byte, 1),
            (self.upload, 2),
            (self.chunked_upload, 1),
            (self.slow_reader, 1),
            (self.events, 4),
        ]
        last: list[tuple[Callable[[Line], bool], int]] = [
            (self.half_close, 2),
            (self.reset, 3),
            (self.garbage, 1),
            (self.websocket, 4),
        ]
        self._polite, self._polite_weights = zip(*polite, strict=True)
        self._last, self._last_weights = zip(*last, strict=True)

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.session()
        except Exception as error:
            self.timeline.violation(f"{self.name}: {error!r}")
            raise

    def session(self) -> None:
        """A connection with a few requests; now and then it ends badly."""
        kinds = self.dice.choices(self._polite, self._polite_weights, k=self.dice.randint(0, 5))
        if not kinds or self.dice.random() < 0.3:
            kinds += self.dice.choices(self._last, self._last_weights)
        self.converse(kinds)

    def epilogue(self) -> None:
        """After the storm: all that is asked is answered."""
        before = self.answered
        self.converse([self.plain, self.events, self.plain, self.upload, self.pipelined, self.websocket])
        if self.answered - before < 6:
            self.timeline.violation(f"{self.name} is not served after the storm")

    def converse(self, kinds: list[Callable[[Line], bool]]) -> None:
        try:
            line = Line(self.dice.choice(self.addresses))
        except OSError as error:
            if time.monotonic() < self.timeline.terminated_at:
                self.timeline.violation(f"{self.name} can't connect: {error!r}")
            self.stop.wait(0.5)
            return
        with line:
            for kind in kinds:
                try:
                    goes_on = kind(line)
                except TimeoutError as error:
                    self._end_all(line, End.STUCK, repr(error))
                    return
                except (EOFError, OSError) as error:
                    self._end_all(line, End.LOST, f"{error!r} {self._last_words(line)!r}")
                    return
                if not goes_on or line.closing:
                    return
                if self.dice.random() < 0.3:
                    self.stop.wait(self.dice.uniform(0, 0.6))  # idle, as people are

    def _last_words(self, line: Line) -> bytes:
        """What the server said before it was gone."""
        line.sock.settimeout(1)
        try:
            return line.rest()
        except OSError:
            return bytes(line.buffer)

    def _end_all(self, line: Line, end: End, detail: str) -> None:
        for asked in line.open:
            self._over(asked, end, detail)
        line.open.clear()

    def _over(self, asked: Request, end: End, detail: str = "") -> None:
        asked.ended = time.monotonic()
        asked.end = end
        asked.detail = detail
        self.answered += end is End.OK

    # asking

    def _ask(self, line: Line, kind: str) -> str:
        self.asked += 1
        key = f"c{self.number}-{self.asked}"
        line.open.append(self.timeline.request(key, kind, line.alive_at))
        return key

    def _answered(self, line: Line, answer: Response) -> bool:
        """Whether the connection goes on. The answer is that of the oldest open request."""
        asked = line.open.pop(0)
        if answer.status != 200:
            self._over(asked, End.REFUSED, str(answer.status))
            return False
        self._over(asked, End.OK)
        line.alive_at = asked.began  # the rest may have come out of the kernel, of a server that is dead
        line.closing = answer.headers.get("connection") == "close"
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            self._check(line, asked.key, answer.json)
        return True

    def _check(self, line: Line, key: str, told: dict[str, Any]) -> None:
        if told["key"] != key:
            self.timeline.violation(f"{key} got the answer of {told['key']}")
        if told["generation"] < line.generation:
            self.timeline.violation(
                f"{key}: generation {told['generation']} of {told['pid']} after {line.generation}"
            )
        line.generation = told["generation"]

    # polite clients. Each tells whether the connection goes on

    def plain(self, line: Line) -> bool:
        key = self._ask(line, "plain")
        return self._answered(line, line.get(f"/plain/{key}", f"X-Request-ID: {key}"))

    def waiting(self, line: Line) -> bool:
        key = self._ask(line, "waiting")
        seconds = self.dice.choice([0, 0.01, 0.2, 1])
        return self._answered(line, line.get(f"/wait/{key}/{seconds}", f"X-Request-ID: {key}"))

    def pipelined(self, line: Line) -> bool:
        data = b""
        count = self.dice.randint(2, 6)
        for _ in range(count):
            key = self._ask(line, "pipelined")
            data += request(f"/plain/{key}", f"X-Request-ID: {key}")
        line.send(data)
        while line.open:
            if not self._answered(line, line.response()):
                self._end_all(line, End.LEFT, "after a refusal")
                return False
            if line.closing:
                self._end_all(line, End.LEFT, "the server closes")
        return True

    def byte_by_byte(self, line: Line) -> bool:
        key = self._ask(line, "byte by byte")
        pause = self.dice.choice([0.002, 0.02])
        for byte in request(f"/plain/{key}", f"X-Request-ID: {key}"):
            line.send(bytes([byte]))
            time.sleep(pause)
        return self._answered(line, line.response())

    def upload(self, line: Line) -> bool:
        key = self._ask(line, "upload")
        fields = (f"X-Request-ID: {key}", f"Content-Length: {len(UPLOAD)}")
        line.send(request(f"/upload/{key}", *fields, method="POST", body=UPLOAD))
        return self._uploaded(line, line.response())

    def chunked_upload(self, line: Line) -> bool:
        key = self._ask(line, "chunked upload")
        fields = (f"X-Request-ID: {key}", "Transfer-Encoding: chunked")
        line.send(request(f"/upload/{key}", *fields, method="POST"))
        for start in range(0, len(UPLOAD), 1 << 17):
            line.send(b"%x\r\n" % (1 << 17) + UPLOAD[start : start + (1 << 17)] + b"\r\n")
            time.sleep(0.01)
        line.send(b"0\r\n\r\n")
        return self._uploaded(line, line.response())

    def _uploaded(self, line: Line, answer: Response) -> bool:
        if answer.status == 200 and answer.json["size"] != len(UPLOAD):
            self.timeline.violation(f"{answer.json['key']}: {answer.json['size']} bytes of the upload came")
        return self._answered(line, answer)

    def slow_reader(self, line: Line) -> bool:
        key = self._ask(line, "slow reader")
        size = 3_000_000
        line.send(request(f"/big/{key}/{size}", f"X-Request-ID: {key}"))
        answer = line.head()
        if answer.status == 200:
            left = int(answer.headers["content-length"])
            while left:
                part = line.exactly(min(left, 1 << 17))
                answer.body += part
                left -= len(part)
                time.sleep(0.05)
        return self._answered(line, answer)

    def events(self, line: Line) -> bool:
        """An event stream to its end, which may be the server's: then it is one all the same."""
        key = self._ask(line, "events")
        count = self.dice.choice([1, 5, 60])
        answer = line.get(f"/sse/{key}/{count}", EVENT_STREAM, f"X-Request-ID: {key}")
        goes_on = self._answered(line, answer)
        if answer.status == 200:
            if answer.body and not answer.body.endswith(b"\n\n"):
                self.timeline.violation(f"{key}: ended within an event: {answer.body[-80:]!r}")
            for event in answer.body.split(b"\n\n")[:-1]:
                self._check(line, key, json.loads(event.removeprefix(b"data: ")))
        return goes_on

    # clients after which the connection is over

    def websocket(self, line: Line) -> bool:
        key = self._ask(line, "websocket")
        line.send(upgrade(f"/ws/{key}", f"X-Request-ID: {key}"))
        answer = line.head()
        if answer.status != 101:
            return self._answered(line, answer)
        opcode, payload = self._frame(line)
        if opcode == 1:
            self._check(line, key, json.loads(payload))
        for number in range(self.dice.choice([1, 10])):
            if opcode == 8:
                break
            text = f"{key} {number}".encode()
            line.send(masked(1, text))
            opcode, payload = self._frame(line)
            if opcode == 1 and payload != text:
                self.timeline.violation(f"{key}: {payload!r} instead of {text!r}")
        if opcode == 8 and payload[:2] != (1012).to_bytes(2, "big"):
            self.timeline.violation(f"{key}: closed with {payload!r}")
        line.send(masked(8, payload if opcode == 8 else b"\x03\xe8"))
        self._over(line.open.pop(), End.OK)
        return False

    def _frame(self, line: Line) -> tuple[int, bytes]:
        first, size = line.exactly(2)
        if size == 126:
            size = int.from_bytes(line.exactly(2), "big")
        return first & 15, line.exactly(size)

    def half_close(self, line: Line) -> bool:
        key = self._ask(line, "half-close")
        line.send(request(f"/plain/{key}", f"X-Request-ID: {key}"))
        line.sock.shutdown(socket.SHUT_WR)
        self._answered(line, line.response())
        return False

    def reset(self, line: Line) -> bool:
        """Part of a request or all of it, and away: with a reset or politely."""
        key = self._ask(line, "reset")
        script = self.dice.choice(
            [
                request(f"/plain/{key}"),
                request(f"/wait/{key}/0.3"),
                request(f"/sse/{key}/60", EVENT_STREAM),
                upgrade(f"/ws/{key}"),
                request(
                    f"/upload/{key}", f"Content-Length: {len(UPLOAD)}", method="POST", body=UPLOAD[:100_000]
                ),
            ]
        )
        line.send(script[: self.dice.choice([len(script), self.dice.randint(0, len(script))])])
        if self.dice.random() < 0.5:
            line.sock.settimeout(0.05)
            with suppress(TimeoutError):
                line.sock.recv(100)
        if self.dice.random() < 0.5:
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._end_all(line, End.LEFT, "on purpose")
        return False

    def garbage(self, line: Line) -> bool:
        """Never anything that is a request; the server must come to an end with it."""
        start = self.dice.choice(
            [b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"POST /x HTTP/1.1\r\nHost: a\r\n"]
        )
        line.send(start + b"\x00" + self.dice.randbytes(self.dice.randint(1, 2000)) + b"\r\n\r\n")
        try:
            line.rest()
        except TimeoutError:
            self.timeline.violation(f"{self.name}: garbage is neither refused nor dropped")
        except OSError:
            pass
        return False
