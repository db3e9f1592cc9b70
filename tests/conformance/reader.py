"""What counts as a response: a client's reading of HTTP/1.1 that forgives nothing (RFC 9112 sections 4 to 7)."""

import re
from dataclasses import dataclass

from tests.conformance.case import Framing

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\t\x20-\x7e]*")
FIELD = re.compile(
    rb"([a-z0-9!#$%&'*+.^_`|~-]+): ((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)"
)
SIZE_LINE = re.compile(rb"[1-9a-f][0-9a-f]*")


class WireFault(Exception):
    """The server sent what is no response."""


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, list[str]]
    framing: Framing
    body: bytes
    trailers: dict[str, list[str]]
    complete: bool

    @property
    def closes(self) -> bool:
        return "close" in ", ".join(self.headers.get("connection", [])).lower().split(", ")

    def text(self, name: str) -> str | None:
        """All values of a field in one; None: it is not there."""
        values = self.headers.get(name)
        return None if values is None else "|".join(values)


class ResponseReader:
    """The responses of one connection, in the order of their requests."""

    def __init__(self, methods: list[str], *, modern: bool) -> None:
        self._methods = methods
        """Of the requests; what is answered beyond them counts as GET."""
        self._modern = modern
        """The requests are of HTTP/1.1."""
        self.buffer = bytearray()
        self.interim: list[list[int]] = [[]]
        """The interim responses before each final one."""
        self.final: list[Response] = []

    @property
    def begun(self) -> bool:
        """A whole response of any kind has arrived."""
        return bool(self.final or self.interim[0])

    def feed(self, data: bytes) -> None:
        """Take what arrived. Raises WireFault."""
        self.buffer += data
        while self.buffer and self._take(ended=False):
            pass

    def end(self) -> None:
        """Nothing will follow. Raises WireFault."""
        while self.buffer and self._take(ended=True):
            pass
        if self.buffer:
            raise WireFault(f"ended inside of a head: {bytes(self.buffer)!r}")

    def _take(self, *, ended: bool) -> bool:
        """Move one response from the buffer. False: it is not complete."""
        head, mark, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not mark:
            return False
        if self.final and (self.final[-1].closes or not self.final[-1].complete):
            raise WireFault(f"bytes after the last response: {bytes(self.buffer)!r}")
        line, *lines = head.split(b"\r\n")
        match = STATUS_LINE.fullmatch(line)
        if match is None:
            raise WireFault(f"no status line: {line!r}")
        status = int(match[1])
        headers = _fields(lines)
        framing, size = self._framing(status, headers)
        if status < 200:
            if not self._modern or status == 101:
                raise WireFault(f"unexpected interim response {status}")
            self.interim[-1].append(status)
            del self.buffer[: len(head) + 4]
            return True
        taken, body, trailers, complete = _body(framing, size, rest, ended=ended)
        if not complete and not ended:
            return False
        self.final.append(Response(status, headers, framing, body, trailers, complete))
        self.interim.append([])
        del self.buffer[: len(head) + 4 + taken]
        return True

    def _framing(self, status: int, headers: dict[str, list[str]]) -> tuple[Framing, int]:
        codings, lengths = headers.get("transfer-encoding", []), headers.get("content-length", [])
        if len(codings) + len(lengths) > 1:
            raise WireFault(f"framed twice: {codings} {lengths}")
        if lengths and re.fullmatch("[0-9]+", lengths[0]) is None:
            raise WireFault(f"Content-Length: {lengths[0]!r}")
        if codings and (codings != ["chunked"] or not self._modern):
            raise WireFault(f"Transfer-Encoding: {codings} (to HTTP/1.1: {self._modern})")
        if (status < 200 or status == 204) and (codings or lengths):
            raise WireFault(f"a {status} with framing fields (RFC 9110 section 8.6, 9112 section 6.1)")
        number = len(self.final)
        method = self._methods[number] if number < len(self._methods) else "GET"
        if status < 200 or status in (204, 304) or method == "HEAD":
            return Framing.NONE, 0
        if codings:
            return Framing.CHUNKED, 0
        return (Framing.LENGTH, int(lengths[0])) if lengths else (Framing.CLOSE, 0)


def _fields(lines: list[bytes]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        match = FIELD.fullmatch(line)
        if match is None:
            raise WireFault(f"malformed field {line!r}")
        found.setdefault(match[1].decode(), []).append(match[2].decode("latin-1"))
    return found


def _body(
    framing: Framing, size: int, rest: bytes, *, ended: bool
) -> tuple[int, bytes, dict[str, list[str]], bool]:
    """How many bytes it takes, the body, its trailers, and whether that is all."""
    if framing is Framing.NONE:
        return 0, b"", {}, True
    if framing is Framing.CLOSE:
        return len(rest), rest, {}, ended
    if framing is Framing.LENGTH:
        data = rest[:size]
        return len(data), data, {}, len(data) == size
    return _chunks(rest)


def _chunks(rest: bytes) -> tuple[int, bytes, dict[str, list[str]], bool]:
    data = b""
    at = 0
    while True:
        end = rest.find(b"\r\n", at)
        if end < 0:
            return len(rest), data, {}, False
        line = rest[at:end]
        if line == b"0":
            break
        if SIZE_LINE.fullmatch(line) is None:
            raise WireFault(f"malformed chunk size {line!r}")
        at = end + 2 + int(line, 16)
        data += rest[end + 2 : at]
        if len(rest) < at + 2:
            return len(rest), data, {}, False
        if rest[at : at + 2] != b"\r\n":
            raise WireFault(f"a chunk ends with {rest[at : at + 2]!r}")
        at += 2
    if rest.startswith(b"\r\n", end + 2):
        return end + 4, data, {}, True
    last = rest.find(b"\r\n\r\n", end + 2)
    if last < 0:
        return len(rest), data, {}, False
    return last + 4, data, _fields(rest[end + 2 : last].split(b"\r\n")), True
