"""One line per request.

Promises: the format is compiled once; no client can forge a line or a field; if the log can't be written the line is
lost and counted, but no request fails; lines of several processes don't mix. On the hot path neither the logging module
is used nor the line formatted: the lines of one turn of the loop are formatted and written together, which takes half
the time of doing it request by request.
"""

import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from select import PIPE_BUF
from typing import Final

import msgspec

from hsrv.common.globs import Globs
from hsrv.common.request import Address, Headers, RequestHead
from hsrv.common.terms import EndReason
from hsrv.ipc.messages import Trace
from hsrv.logs.applogging import is_heard, offer
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import LEVELS, access_writer, get_logger, process_fields, short_style
from hsrv.logs.schemas import SCHEMAS
from hsrv.logs.shortlines import Style, short_request
from hsrv.logs.targets import access_target_of, wants_json
from hsrv.options.config import Config

DEFAULT_FORMAT: Final = '%(t)s %(h)s "%(r)s" %(s)s %(M)sms'

WAITING_LIMIT: Final = 256
"""Maximum requests whose lines wait for the end of the turn."""

SECRETS: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
"""Request headers that no format may contain: a reader of the log must not be able to impersonate a user."""


LOGGER: Final = "hsrv.access"

OWN_PATHS: Final = "/__hsrv__/*"
"""What hsrv adds to an application in development: no request of its users."""


log = get_logger("hsrv.log")


class AccessRecord:
    """A request and its outcome."""

    __slots__ = (
        "at",
        "body_bytes",
        "client",
        "duration",
        "headers",
        "http_version",
        "kind",
        "method",
        "status",
        "target",
        "trace",
    )

    def __init__(
        self,
        *,
        method: str,
        target: bytes,
        http_version: str,
        status: int,
        body_bytes: int,
        duration: float,
        client: Address | None,
        headers: Headers,
        trace: Trace,
        kind: str,
    ) -> None:
        self.method = method
        self.target = target
        self.http_version = http_version
        self.status = status
        """As `logged_status` has it; 0 when the server ended the request without a response."""
        self.body_bytes = body_bytes
        self.duration = duration
        """Seconds."""
        self.client = client
        self.headers = headers
        self.trace = trace
        self.kind = kind
        """"http" or "websocket"."""
        self.at = time.time()
        """When it ended, in seconds since the epoch."""

    def header(self, name: bytes) -> str | None:
        """The first field of a lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None


CLIENT_LEFT: Final = 499
"""nginx's status for a client that left before its response was complete."""


def logged_status(status: int, reason: EndReason, *, is_stream: bool = False) -> int:
    """The status for the log. A stream usually ends because its client leaves: that is no failure."""
    return CLIENT_LEFT if reason is EndReason.CLIENT_GONE and not (is_stream and status) else status


class Entry(msgspec.Struct, frozen=True):
    """A line of JSON: the schema of all lines (`hsrv.logs.logging`), and the request. The fields of the process come
    last because they are the same in every line."""

    timestamp: datetime
    level: str
    logger: str
    event: str
    message: str
    """For readers that know no other field."""
    kind: str
    method: str
    path: str
    """As sent: percent-encoded."""
    query: str
    http_version: str
    status: int
    bytes: int
    """Of the response's body."""
    duration_ms: float
    client: str | None
    user_agent: str | None
    request_id: str
    traceparent: str | None


Atom = Callable[[AccessRecord], str]


@lru_cache(maxsize=2)
def _clock(second: int) -> str:
    return datetime.fromtimestamp(second).astimezone().strftime("[%d/%b/%Y:%H:%M:%S %z]")


def _target(record: AccessRecord) -> str:
    return record.target.decode("latin-1")


ATOMS: Final[dict[str, Atom]] = {
    "h": lambda r: r.client[0] if r.client else "-",
    "l": lambda r: "-",
    "u": lambda r: "-",
    "t": lambda r: _clock(int(r.at)),
    "r": lambda r: f"{r.method} {_target(r)} HTTP/{r.http_version}",
    "m": lambda r: r.method,
    "U": lambda r: _target(r).partition("?")[0],
    "q": lambda r: _target(r).partition("?")[2],
    "H": lambda r: f"HTTP/{r.http_version}",
    "s": lambda r: str(r.status),
    "B": lambda r: str(r.body_bytes),
    "b": lambda r: str(r.body_bytes) if r.body_bytes else "-",
    "f": lambda r: r.header(b"referer") or "-",
    "a": lambda r: r.header(b"user-agent") or "-",
    "T": lambda r: str(int(r.duration)),
    "M": lambda r: f"{r.duration * 1000:.1f}",
    "D": lambda r: str(int(r.duration * 1_000_000)),
    "L": lambda r: f"{r.duration:.6f}",
    "p": lambda r: f"<{os.getpid()}>",
}
"""gunicorn's atoms. In addition `%({NAME}i)s`: a request header."""

_atom: Final = re.compile(r"%(?:%|\(([^)]*)\)s)?")
_header: Final = re.compile(r"\{([!#$%&'*+.^_`|~0-9A-Za-z-]+)\}i")
_unsafe: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\\"]')


def compile_format(text: str) -> Callable[[AccessRecord], str]:
    """A function that formats a record. Raises ValueError for an unknown atom."""
    atoms: list[Atom] = []

    def placeholder(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%%"
        atoms.append(_find_atom(found))
        return "%s"

    template = _atom.sub(placeholder, text)

    def format_record(record: AccessRecord) -> str:
        texts = [atom(record) for atom in atoms]
        if not _is_plain("".join(texts)):
            texts = [_safe(text) for text in texts]
        return template % tuple(texts)

    return format_record


def _find_atom(found: re.Match[str]) -> Atom:
    name = found[1]
    if name is None:
        raise ValueError(f"% at character {found.start() + 1} doesn't begin an atom; %% is a percent sign")
    if name in ATOMS:
        return ATOMS[name]
    header = _header.fullmatch(name)
    if header is None:
        raise ValueError(f"unknown atom %({name})s; known are {', '.join(ATOMS)} and {{NAME}}i")
    field = header[1].lower().encode("ascii")
    if field in SECRETS:
        raise ValueError(f"%({name})s: this header contains secrets and is never logged")
    return lambda record: record.header(field) or "-"


def _is_plain(text: str) -> bool:
    """Whether it certainly contains nothing that `_safe` changes."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _safe(text: str) -> str:
    """Without control characters and bare quotes: text from a client must not end a line or a field."""
    return _unsafe.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class AccessLog:
    """Writes records in the configured format. Created after `hsrv.logs.logging.setup()`.

    `soon`: schedules a callback at the end of this turn of the loop, when the lines are formatted and written. If the
    process dies before, these lines are lost. Without it each line is written at once.
    """

    def __init__(self, config: Config, soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.enabled = config.access_log and LEVELS[config.log_level] <= LEVELS["info"]
        self._writer = access_writer(config)
        self._soon = soon
        self._waiting: list[AccessRecord] = []
        self._line: Callable[[AccessRecord], bytes]
        target = access_target_of(config)
        if config.access_log_format is None and wants_json(config, target):
            self._line = _json_lines(config.log_schema)
        elif config.access_log_format is None and config.log_format == "short":
            self._line = _short_lines(short_style(target))
        elif config.access_log_format in (None, DEFAULT_FORMAT):
            self._line = _usual_line
        else:
            self._line = _text_lines(config.access_log_format)
        self._with_query = config.log_query
        own = (OWN_PATHS,) if config.log_format == "short" else ()
        skipped = (*config.access_log_skip, *own)
        self._skipped = Globs(skipped) if skipped else None

    def tell(
        self,
        kind: str,
        head: RequestHead,
        trace: Trace,
        client: Address | None,
        *,
        status: int,
        body_bytes: int,
        duration: float,
    ) -> None:
        """A request is over. `kind`: "http" or "websocket"."""
        self.log(
            AccessRecord(
                method=head.method,
                target=head.target,
                http_version=head.http_version,
                status=status,
                body_bytes=body_bytes,
                duration=duration,
                client=client,
                headers=head.headers,
                trace=trace,
                kind=kind,
            )
        )

    def log(self, record: AccessRecord) -> None:
        """Write one line, now or at the end of this turn."""
        if self._skipped is not None and self._skipped.match(_target(record).partition("?")[0]):
            return
        waiting = self._waiting
        waiting.append(record)
        if self._soon is None or len(waiting) >= WAITING_LIMIT:
            self.flush()
        elif len(waiting) == 1:
            self._soon(self.flush)

    def flush(self) -> None:
        """Write the waiting lines: as many at a time as a pipe takes atomically, so that lines of several processes
        don't mix."""
        records, self._waiting = self._waiting, []
        if not self._with_query:
            for record in records:
                _forget_query(record)
        if is_heard(LOGGER):
            records = [record for record in records if _offer(record)]
        lines: list[bytes] = []
        room = PIPE_BUF
        for record in records:
            line = self._line(record)
            if len(line) > room:
                self._write(lines)
                lines, room = [], PIPE_BUF
            lines.append(line)
            room -= len(line)
        self._write(lines)

    def _write(self, lines: list[bytes]) -> None:
        if lines:
            self._writer.write(b"".join(lines), len(lines))


def _offer(record: AccessRecord) -> bool:
    """To the application's logger `hsrv.access`, with the message and the arguments of `uvicorn.access`. Whether hsrv
    is to write it, too."""
    client = f"{record.client[0]}:{record.client[1]}" if record.client else "-"
    arguments = (client, record.method, _safe(_target(record)), record.http_version, record.status)
    path, _, query = _target(record).partition("?")
    fields = {
        "event": "request",
        "kind": record.kind,
        "method": record.method,
        "path": path,
        "query": query,
        "status": record.status,
        "bytes": record.body_bytes,
        "duration_ms": record.duration * 1000,
        "client": record.client[0] if record.client else None,
        "user_agent": record.header(b"user-agent"),
        "request_id": record.trace.request_id,
        "traceparent": record.trace.traceparent,
        **process_fields(),
    }
    try:
        return offer(LOGGER, LEVELS["info"], '%s - "%s %s HTTP/%s" %d', arguments, fields)
    except Exception as error:  # foreign code: a filter, a handler
        if count := lines_due("access log handler"):
            log.warning("access log handler failed", error=type(error).__name__, count=count)
        return True


def _forget_query(record: AccessRecord) -> None:
    """Remove the query of the request and that of its Referer."""
    record.target = record.target.partition(b"?")[0]
    record.headers = [
        (name, value.partition(b"?")[0] if name == b"referer" else value) for name, value in record.headers
    ]


def _usual_line(record: AccessRecord) -> bytes:
    """DEFAULT_FORMAT, written out for speed."""
    client = record.client
    host = client[0] if client is not None else "-"
    asked = f"{record.method} {record.target.decode('latin-1')} HTTP/{record.http_version}"
    if not _is_plain(asked) or not _is_plain(host):
        host, asked = _safe(host), _safe(asked)
    text = f'{_clock(int(record.at))} {host} "{asked}" {record.status} {record.duration * 1000:.1f}ms\n'
    return text.encode("utf-8", "backslashreplace")


def _short_lines(style: Style) -> Callable[[AccessRecord], bytes]:
    def line(record: AccessRecord) -> bytes:
        text = short_request(record.method, _target(record), record.status, record.duration, style)
        return f"{text}\n".encode("utf-8", "backslashreplace")

    return line


def _text_lines(text: str) -> Callable[[AccessRecord], bytes]:
    format_record = compile_format(text)
    return lambda record: f"{format_record(record)}\n".encode("utf-8", "backslashreplace")


def _json_lines(schema: str) -> Callable[[AccessRecord], bytes]:
    renamed = SCHEMAS[schema]
    encode = msgspec.json.Encoder().encode
    process = process_fields()
    fields = {key: process.get(key) for key in ("role", "slot", "generation", "pid")}
    tail = b"," + encode(fields)[1:] + b"\n"

    def line(record: AccessRecord) -> bytes:
        path, _, query = record.target.decode("latin-1").partition("?")
        entry = Entry(
            datetime.fromtimestamp(record.at, UTC),
            "info",
            LOGGER,
            "request",
            f"{record.method} {path} {record.status}",
            record.kind,
            record.method,
            path,
            query,
            record.http_version,
            record.status,
            record.body_bytes,
            int(record.duration * 1_000_000 + 0.5) / 1000,
            record.client[0] if record.client else None,
            record.header(b"user-agent"),
            record.trace.request_id,
            record.trace.traceparent,
        )
        if renamed is None:
            return _ascii(encode(entry))[:-1] + tail
        return _ascii(encode(renamed(msgspec.structs.asdict(entry) | fields))) + b"\n"

    return line


def _ascii(text: bytes) -> bytes:
    """Escape non-ASCII characters: terminals interpret control characters beyond ASCII, which JSON doesn't escape."""
    return text if text.isascii() else json.dumps(msgspec.json.decode(text)).encode("ascii")
