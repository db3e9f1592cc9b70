"""What a row of the tables says: bytes in, and everything that may come of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

P = "/path/000000"
"""Stands for the path of a run wherever it occurs: /work/ or /pool/ and the run's number. All are equally long, so that
lengths and chunk sizes hold."""

PROBE = f"GET {P}/probe HTTP/1.1\r\nHost: probe\r\n\r\n"
"""Sent after every case: answered as exactly this request, or not at all."""

CANARY = f"GET {P}/canary HTTP/1.1\r\nHost: canary\r\n\r\n"
"""What is smuggled. The application never sees it as a request unless the row says that it is one."""


class After(Enum):
    """What becomes of the connection."""

    OPEN = auto()
    """The probe is answered."""
    CLOSED = auto()
    """Nothing else is answered. The end is clean: no reset destroys the answer on its way."""
    ENDED = auto()
    """Nothing else is answered; a reset is an end as well."""


class Framing(Enum):
    """How the end of a response's body is found."""

    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the application has seen of a request."""

    method: str = "GET"
    path: str = P
    """The raw path."""
    query: str = ""
    version: str = "1.1"
    body: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Values of some fields, several ones joined by "|"; None: the field is not there."""
    only: frozenset[str] | None = None
    """If given, the names of all fields."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One response."""

    status: frozenset[int]
    seen: Seen | None = None
    """The application echoed this."""
    call: str | None = None
    """`METHOD path` of the application's call, where it doesn't echo."""
    method: str = "GET"
    """Of the request: HEAD has no body."""
    framing: Framing | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: str | None = None
    interim: tuple[int, ...] | None = ()
    """Interim responses before it; None: any."""
    cut: bool = False
    """It is visibly incomplete."""

    @property
    def calls(self) -> list[str]:
        if self.seen is not None:
            return [f"{self.seen.method} {self.seen.path}"]
        return [] if self.call is None else [self.call]


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    rfc: str
    data: str
    """Latin-1."""
    answers: tuple[Answer, ...]
    after: After
    later: str = ""
    """Sent when the first response, an interim one too, has arrived."""
    silent: bool = False
    """The last answer may be left out: closed without a word."""
    probe: bool = True
    """False: the client closes its side instead."""
    stalls: bool = False
    """Nothing is sent after `data`, and nothing is closed."""
    log: str | None = None
    """The event under which the server logs the path."""


OK = frozenset({200})
GET = Seen()
PROBED = Answer(
    status=OK, seen=Seen(path=f"{P}/probe", headers={"host": "probe"}, only=frozenset({"host"})), interim=None
)


def served(name: str, rfc: str, data: str, *seen: Seen, after: After = After.OPEN, later: str = "") -> Case:
    """Accepted: the application sees these requests, one after the other."""
    answers = tuple(Answer(status=OK, seen=one, method=one.method, interim=None) for one in seen)
    return Case(name=name, rfc=rfc, data=data, answers=answers, after=after, later=later)


def refused(name: str, rfc: str, data: str, *status: int, before: tuple[Seen, ...] = ()) -> Case:
    """Answered with an error and closed; the application sees nothing of it.

    `before`: requests that are served first.
    """
    error = Answer(
        status=frozenset(status or {400}),
        method="HEAD" if data.startswith("HEAD ") else "GET",
        headers={"connection": "close|upgrade" if 426 in status else "close"},
    )
    good = served(name, rfc, data, *before).answers
    return Case(name=name, rfc=rfc, data=data, answers=(*good, error), after=After.CLOSED)


def truncated(name: str, rfc: str, data: str) -> Case:
    """The client closes its side too early: closed without an answer, or 400, or 408."""
    error = Answer(status=frozenset({400, 408}), interim=None)
    return Case(name=name, rfc=rfc, data=data, answers=(error,), after=After.ENDED, silent=True, probe=False)


def request(
    *fields: str,
    method: str = "GET",
    target: str = P,
    version: str = "1.1",
    host: str | None = "a",
    body: str = "",
) -> str:
    """The bytes of a request. `fields`: whole lines without their ends."""
    lines = [f"{method} {target} HTTP/{version}", *([] if host is None else [f"Host: {host}"]), *fields]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def post(*fields: str, body: str = "", version: str = "1.1") -> str:
    return request(*fields, method="POST", body=body, version=version)


def chunked(body: str, *fields: str) -> str:
    """A POST with `body` after `Transfer-Encoding: chunked`."""
    return post("Transfer-Encoding: chunked", *fields, body=body)


def posted(body: str = "", **rest: Any) -> Seen:
    """A POST, as the application sees it."""
    return Seen(method="POST", body=body, **rest)
