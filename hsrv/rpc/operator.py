"""The methods that an operator can call: one table for the supervisor, the command line and docs/control.md.

Pure.
"""

from typing import Final, Literal

import msgspec

from hsrv.rpc.methods import ChildReport, Empty, Method, Running

STATUS_VERSION: Final = 1
"""Version of `ServerStatus`. Fields may be added; none is removed or changes its meaning within a version."""


class StatusParams(msgspec.Struct, frozen=True, kw_only=True):
    """No parameters so far."""


class ListenerStatus(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    waiting: int | None
    """Connections not accepted yet; null if the system doesn't report it (Unix sockets)."""
    backlog: int | None
    """How many may wait."""


class Occupying(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as the scoreboard shows it."""

    method: str
    path: str
    """As received, truncated."""
    request_id: str
    client: str
    seconds: float
    """Since the application was called."""


class BoardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The scoreboard of a process, whether the process answers or not."""

    thread_silence: float
    """Seconds since a thread of the process last ran. If large: the GIL is held, or the process doesn't run."""
    loop_silence: float
    """Seconds since the last turn of its event loop."""
    current: Occupying | None
    """The request that occupies the process; null when it waits for events."""
    oldest: Occupying | None
    """The request that has been waiting longest, except streams."""
    note: str
    """Where the event loop is blocked; "" when it is not."""
    gauges: dict[str, int]
    """connections, idle, waiting, in_flight, streams, websockets, parked."""
    requests: dict[str, int]
    """Requests answered by this process, by class of status."""


class RoleTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of all processes of a role since the start of the server, including those that have ended."""

    requests: dict[str, int]
    """By class of status. Streams count when they begin, WebSockets only when they are refused."""
    durations: list[int]
    """Requests by response time, per bucket of `ServerStatus.bounds`, the last one open."""
    duration_seconds: float
    """The sum."""
    queue_wait: list[int]
    """Requests that waited before the application was called, likewise."""
    queue_wait_seconds: float
    loop_lag: list[int]
    """Turns of the event loops by delay, likewise."""
    loop_lag_seconds: float
    streams: list[int]
    """Streams and WebSockets that ended, by duration, likewise."""
    stream_seconds: float
    counts: dict[str, int]
    """accepted, adopted, handoffs_sent, ..., bytes_in, bytes_out."""
    ended: dict[str, int]
    """Connections that left a process, by reason."""
    stream_ended: dict[str, int]
    """Streams and WebSockets, by reason."""


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    """Consecutive, from 1."""
    at: float
    """Seconds since the epoch."""
    level: str
    event: str
    """As in the log: process died, reloading, recycling, ..."""
    details: dict[str, str]


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    """Role and slot: worker-1, pool-1."""
    role: str
    slot: int
    generation: int
    pid: int
    """0 until it is forked."""
    state: Literal["forking", "starting", "ready", "serving", "draining", "dismissed", "killed"]
    leader: bool
    age: float
    """Seconds since it was forked."""
    rss: int | None
    """Resident memory in bytes, shared pages counted fully; null when the process has ended."""
    pss: int | None
    """Proportional memory in bytes, shared pages divided among their users; null if the system doesn't report it."""
    cpu_seconds: float | None
    cpu_percent: float | None
    """Of one core, since the last status; 0.0 the first time."""
    answers: bool
    """Whether it answered within REPORT_TIMEOUT. A worker that is busy computing doesn't."""
    report: ChildReport | None
    """null when it didn't answer, or isn't ready yet."""
    deadline: float | None
    """Seconds until it is killed unless its state changes; null without such a limit."""
    board: BoardStatus | None = None
    """null when the scoreboard has not been written yet."""


class GenerationStatus(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    state: Literal["starting", "serving", "draining", "gone"]
    reload_id: str
    """Of the reload that starts or drains it; "" if none."""
    template_pid: int
    """0 if there is no template."""
    processes: list[ProcessStatus]


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the whole server, at most STATUS_TTL old."""

    status_version: int
    hsrv: str
    """Version."""
    python: str
    pid: int
    """Of the supervisor."""
    app: str
    started_at: float
    """Seconds since the epoch."""
    uptime: float
    """Seconds."""
    phase: Literal["running", "delaying", "stopping", "over"]
    ready: bool
    not_ready_because: str
    """"" when ready."""
    workers: int
    """Configured number."""
    pools: int
    log_level: str
    listeners: list[ListenerStatus]
    generations: list[GenerationStatus]
    bounds: list[float] = []
    """Upper bounds in seconds of the histogram buckets, except the last bucket, which has none."""
    totals: dict[str, RoleTotals] = {}
    """By role."""
    deaths: dict[str, int] = {}
    """Processes that ended unexpectedly, by role and reason: worker hung, pool signal, ..."""
    events: list[TimelineEvent] = []
    """Recent events, oldest first."""


class ReloadParams(msgspec.Struct, frozen=True, kw_only=True):
    wait: bool = False
    """Also wait until the old generation has ended."""


class ReloadResult(msgspec.Struct, frozen=True, kw_only=True):
    reload_id: str
    generation: int


class UpgradeParams(msgspec.Struct, frozen=True, kw_only=True):
    """No parameters so far."""


class UpgradeResult(msgspec.Struct, frozen=True, kw_only=True):
    upgrade_id: str
    pid: int
    """Of the new supervisor."""
    adopts: bool
    """Whether it takes over idle connections too: only when both versions use the same messages."""


class StopParams(msgspec.Struct, frozen=True, kw_only=True):
    now: bool = False
    """Don't wait for requests and streams."""


class ScaleParams(msgspec.Struct, frozen=True, kw_only=True):
    workers: int | None = None
    step: int | None = None
    """Instead of `workers`: this many more, or fewer."""


class ScaleResult(msgspec.Struct, frozen=True, kw_only=True):
    before: int
    workers: int


class HoldParams(msgspec.Struct, frozen=True, kw_only=True):
    held: bool


class HoldResult(msgspec.Struct, frozen=True, kw_only=True):
    ready: bool
    not_ready_because: str


class RestartParams(msgspec.Struct, frozen=True, kw_only=True):
    slot: int


class RestartResult(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    pid: int


class StacksParams(msgspec.Struct, frozen=True, kw_only=True):
    target: str = ""
    """A worker's slot, a process name like pool-1, or "pool"; "" for all."""


class ProcessStacks(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    generation: int
    pid: int
    threads: str
    """Stacks of every thread, as written by faulthandler."""
    tasks: str
    """Stacks of every task of the event loop; "" when the loop is blocked."""
    note: str
    """Problems; "" if there were none."""


class StacksResult(msgspec.Struct, frozen=True, kw_only=True):
    processes: list[ProcessStacks]


class LogLevelParams(msgspec.Struct, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"]


class PrestopParams(msgspec.Struct, frozen=True, kw_only=True):
    delay: float
    """Minimum seconds to wait, for load balancers to notice."""
    quiet: float
    """Seconds without a new connection after which it is safe."""
    timeout: float
    """Maximum seconds to wait."""
    end_streams: bool = False
    """Then end the streams within their grace, while requests are still served."""


class PrestopResult(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float
    quiet: bool
    """False when new connections arrived until the timeout."""
    running: list[Running]
    """What is still running."""


PING: Final = Method("ping", Empty, Empty, "check that the supervisor's event loop runs")
STATUS: Final = Method("status", StatusParams, ServerStatus, "a snapshot of the whole server")
RELOAD: Final = Method("reload", ReloadParams, ReloadResult, "start a new generation; progress: its steps")
UPGRADE: Final = Method(
    "upgrade",
    UpgradeParams,
    UpgradeResult,
    "start a new server that takes over the listeners; this one drains and ends",
)
STOP: Final = Method("stop", StopParams, Empty, "stop the server; answered when the stop has begun")
SCALE: Final = Method(
    "scale", ScaleParams, ScaleResult, "change the number of workers; answered when they serve"
)
HOLD: Final = Method("hold", HoldParams, HoldResult, "report not ready, or ready again")
RESTART_WORKER: Final = Method(
    "restart_worker",
    RestartParams,
    RestartResult,
    "replace the process of a slot; answered when the new one serves",
)
STACKS: Final = Method("stacks", StacksParams, StacksResult, "every Python stack of live processes")
LOG_LEVEL: Final = Method("log_level", LogLevelParams, Empty, "set the log level of every process")
PRESTOP: Final = Method(
    "prestop", PrestopParams, PrestopResult, "report not ready and wait until no new connections arrive"
)

METHODS: Final = (
    PING,
    STATUS,
    RELOAD,
    UPGRADE,
    STOP,
    SCALE,
    HOLD,
    RESTART_WORKER,
    STACKS,
    LOG_LEVEL,
    PRESTOP,
)
