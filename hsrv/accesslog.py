"""One line per request.

Promises: the format is compiled once; no client can forge a line; a log that can't be written costs the line and a count,
never a request.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from hsrv.config import Config
from hsrv.http.events import Address, Headers
from hsrv.logging import LEVELS, wants_json
from hsrv.messages import Trace

DEFAULT_FORMAT: Final = '%(h)s "%(r)s" %(s)s %(M)sms'


class AccessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A request and what became of it."""

    method: str
    target: bytes
    http_version: str
    status: int
    """0 when no response was begun."""
    body_bytes: int
    duration: float
    """Seconds."""
    client: Address | None
    headers: Headers
    trace: Trace
    kind: str
    """"http" or "websocket"."""

    def header(self, name: str) -> str:
        wanted = name.lower().encode("latin-1")
        return next((value.decode("latin-1") for key, value in self.headers if key == wanted), "-")


Atom = Callable[[AccessRecord], str]


def _target(record: AccessRecord) -> str:
    return record.target.decode("latin-1")


ATOMS: Final[dict[str, Atom]] = {
    "h": lambda r: r.client[0] if r.client else "-",
    "l": lambda r: "-",
    "u": lambda r: "-",
    "t": lambda r: datetime.now().astimezone().strftime("[%d/%b/%Y:%H:%M:%S %z]"),
    "r": lambda r: f"{r.method} {_target(r)} HTTP/{r.http_version}",
    "m": lambda r: r.method,
    "U": lambda r: _target(r).partition("?")[0],
    "q": lambda r: _target(r).partition("?")[2],
    "H": lambda r: f"HTTP/{r.http_version}",
    "s": lambda r: str(r.status),
    "B": lambda r: str(r.body_bytes),
    "b": lambda r: str(r.body_bytes) if r.body_bytes else "-",
    "f": lambda r: r.header("referer"),
    "a": lambda r: r.header("user-agent"),
    "T": lambda r: str(int(r.duration)),
    "M": lambda r: f"{r.duration * 1000:.1f}",
    "D": lambda r: str(int(r.duration * 1_000_000)),
    "L": lambda r: f"{r.duration:.6f}",
    "p": lambda r: f"<{os.getpid()}>",
}
"""The usual atoms. Beside them `%({NAME}i)s`: a request header."""

_atom: Final = re.compile(r"%\((\{[^}]+\}i|[^)]*)\)s|%%")
_unprintable: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")


def compile_format(text: str) -> Callable[[AccessRecord], str]:
    """A function that formats a record. Raises ValueError for an unknown atom."""
    parts: list[str | Atom] = []
    end = 0
    for match in _atom.finditer(text):
        parts += [text[end : match.start()], _atom_of(match)]
        end = match.end()
    parts.append(text[end:])
    return lambda record: "".join(part if isinstance(part, str) else _safe(part(record)) for part in parts)


def _atom_of(match: re.Match[str]) -> str | Atom:
    name = match[1]
    if name is None:
        return "%"
    if name.startswith("{"):
        header = name[1:-2]
        return lambda record: record.header(header)
    if name not in ATOMS:
        raise ValueError(f"unknown atom %({name})s; known are {', '.join(ATOMS)} and {{NAME}}i")
    return ATOMS[name]


def _safe(text: str) -> str:
    """No control character and no bare quote: what a client sends must not end a line or a field."""
    return _unprintable.sub(lambda match: f"\\x{ord(match[0]):02x}", text).replace('"', "\\x22")


class AccessLog:
    """Writes records to standard error as the configuration says."""

    def __init__(self, config: Config) -> None:
        self.enabled = config.access_log and LEVELS[config.log_level] <= LEVELS["info"]
        self.dropped = 0
        """Lines that could not be written."""
        self._encode = msgspec.json.Encoder().encode
        if config.access_log_format is not None:
            self._format = compile_format(config.access_log_format)
            self._line = self._text_line
        elif wants_json(config.log_format, sys.stderr):
            self._line = self._json_line
        else:
            self._format = compile_format(f"%(t)s {DEFAULT_FORMAT}")
            self._line = self._text_line

    def log(self, record: AccessRecord) -> None:
        """Write one line."""
        line = self._line(record)
        try:
            if os.write(2, line) != len(line):
                self.dropped += 1
        except OSError:  # a full disk, a reader that is gone: serving goes on
            self.dropped += 1

    def _text_line(self, record: AccessRecord) -> bytes:
        return self._format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _json_line(self, record: AccessRecord) -> bytes:
        path, _, query = _target(record).partition("?")
        entry = {
            "timestamp": datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z"),
            "level": "info",
            "logger": "hsrv.access",
            "event": "request",
            "kind": record.kind,
            "method": record.method,
            "path": path,
            "query": query,
            "http_version": record.http_version,
            "status": record.status,
            "bytes": record.body_bytes,
            "duration_ms": round(record.duration * 1000, 3),
            "client": record.client[0] if record.client else None,
            "user_agent": record.header("user-agent"),
            "request_id": record.trace.request_id,
            "traceparent": record.trace.traceparent,
            "pid": os.getpid(),
        }
        return self._encode(entry) + b"\n"
