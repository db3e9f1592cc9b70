"""The methods between the supervisor and its children: one table for both ends. Pure."""

from typing import Final, Generic, Literal, TypeVar

import msgspec

REPORT_LIMIT: Final = 100
"""Entries of each list of a report: it must fit a line of the channel, and stay readable."""

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


class Empty(msgspec.Struct, frozen=True):
    """No parameters, or no result."""


class DrainParams(msgspec.Struct, frozen=True, kw_only=True):
    graceful_timeout: float
    """Seconds for requests."""
    stream_grace: float
    """Seconds for streams."""
    adopt: bool = False
    """Whether connections between two requests move to other workers; otherwise they are closed."""

    def is_shorter_than(self, other: "DrainParams") -> bool:
        """Whether a draining process must finish sooner: connections can no longer be moved, or streams have less
        time."""
        return (other.adopt and not self.adopt) or self.stream_grace < other.stream_grace


class ReadyParams(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    lifespan: bool
    """Whether the application supports lifespan."""
    interface: str = ""
    """How the application is called: asgi or wsgi."""
    modules: dict[str, str | None] = {}
    """Development: imported modules and their files. Only reported by the leader."""


class RecycleParams(msgspec.Struct, frozen=True, kw_only=True):
    reason: str
    """One word, for a counter."""
    why: str


class FailedParams(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    """"import" or "lifespan"."""
    message: str
    traceback: str


class LearnedParams(msgspec.Struct, frozen=True, kw_only=True):
    patterns: list[str]
    """Of streams."""
    plain: list[str] = []
    """Paths requested as a stream whose response was not one. Workers keep them for a while."""


class PoolAvailableParams(msgspec.Struct, frozen=True, kw_only=True):
    available: bool


class LogLevelParams(msgspec.Struct, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"]


class ServeParams(msgspec.Struct, frozen=True, kw_only=True):
    """What it must know before it serves: it may have changed since its template began."""

    level: Literal["debug", "info", "warning", "error"]
    learned: list[str] = []
    """Paths that turned out to be streams."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A request, stream or connection that a process must finish before it can exit."""

    kind: Literal["request", "stream", "websocket", "connection"]
    """"connection": one that is neither idle nor runs a request, such as a response that its client reads slowly."""
    state: str
    method: str
    path: str
    client: str
    """Host and port, or the path of a Unix socket; "" when unknown."""
    request_id: str
    seconds: float
    """Time since it began."""


class PathStreams(msgspec.Struct, frozen=True, kw_only=True):
    count: int
    oldest: float
    """Seconds."""


class ChildReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker or pool is doing, and what it has done since its start. The counters are those of its scoreboard,
    from which the supervisor fills them in."""

    running: int
    oldest: list[Running]
    """The oldest REPORT_LIMIT of them."""
    streams: dict[str, PathStreams]
    """By path, the REPORT_LIMIT with the most; also WebSockets."""
    connections: int = 0
    idle: int = 0
    """Of those: between two requests."""
    waiting: int = 0
    """Requests that wait for a place, or for room in the handoff channel."""
    handoffs_sent: int = 0
    handoffs_received: int = 0
    parked: int = 0
    """Worker: idle connections sent to the parking lot. Pool: idle connections in it."""
    adopted: int = 0
    """Idle connections received from other processes."""
    undecodable: int = 0
    """Packets that were dropped."""
    accepted: int = 0
    """New connections."""
    ended: dict[str, int] = {}
    """Connections that left this process, by reason."""


class StacksResult(msgspec.Struct, frozen=True, kw_only=True):
    text: str


class Method(Generic[P, R]):
    """A request or notification: its name, parameters and result."""

    def __init__(self, name: str, params: type[P], result: type[R], doc: str) -> None:
        """`doc`: sender, receiver and meaning, in one line."""
        self.name = name
        self.params = params
        self.result = result
        self.doc = doc


BEGIN_STARTUP: Final = Method(
    "begin_startup",
    Empty,
    Empty,
    "supervisor to child: the leader's lifespan startup is complete; begin yours",
)
SERVE: Final = Method("serve", ServeParams, Empty, "supervisor to child: begin to accept or receive")
ANNOUNCE_CLOSE: Final = Method(
    "announce_close", Empty, Empty, "supervisor to child: send Connection: close from now on"
)
DRAIN: Final = Method("drain", DrainParams, Empty, "supervisor to child: finish and exit; answered at once")
FINISH: Final = Method("finish", Empty, Empty, "supervisor to pool: no more handoffs will come")
LEARNED: Final = Method("learned", LearnedParams, Empty, "both ways: paths that turned out to be streams")
POOL_AVAILABLE: Final = Method(
    "pool_available", PoolAvailableParams, Empty, "supervisor to worker: whether a pool accepts streams"
)
LOG_LEVEL: Final = Method("log_level", LogLevelParams, Empty, "supervisor to child: log from this level on")
REPORT: Final = Method("report", Empty, ChildReport, "supervisor to child: what it is doing")
TASK_STACKS: Final = Method(
    "task_stacks",
    Empty,
    StacksResult,
    "supervisor to child: the stacks of its waiting tasks",
)
READY: Final = Method("ready", ReadyParams, Empty, "child to supervisor: lifespan startup is complete")
RECYCLE: Final = Method("recycle", RecycleParams, Empty, "worker to supervisor: please replace this process")
FAILED: Final = Method(
    "failed", FailedParams, Empty, "child to supervisor: the application could not be started"
)
