"""What an operator can ask a running server: one table for the supervisor, the command line and docs/control.md.

Pure.
"""

from typing import Final, Literal

import msgspec

from hsrv.rpc.methods import ChildReport, Empty, Method, Running

STATUS_VERSION: Final = 1
"""Of the shape of `ServerStatus`. Fields may be added; none is removed or changes its meaning within a version."""


class StatusParams(msgspec.Struct, frozen=True, kw_only=True):
    """No parameters so far."""


class ListenerStatus(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    waiting: int | None
    """Connections that no worker has accepted yet; null where the system doesn't tell (Unix sockets)."""
    backlog: int | None
    """The most that may wait."""


class Occupying(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as the scoreboard shows it."""

    method: str
    path: str
    """As received, cut."""
    request_id: str
    client: str
    seconds: float
    """Since the application was called."""


class BoardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the scoreboard of a process shows, whether the process answers or not."""

    thread_silence: float
    """Seconds since a thread of the process last ran. Long: something holds the GIL, or the process doesn't run."""
    loop_silence: float
    """Seconds since its event loop last turned."""
    current: Occupying | None
    """The request that occupies it; null when it waits for events."""
    oldest: Occupying | None
    """The one that waits for longest, streams aside."""
    note: str
    """What the loop stands still in; "" when it turns."""
    gauges: dict[str, int]
    """connections, idle, waiting, in_flight, streams, websockets, parked."""
    requests: dict[str, int]
    """Answered by this process, by class of status."""


class RoleTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What all processes of a role have counted since the server began, also those that are gone."""

    requests: dict[str, int]
    """By class of status. Streams count when they begin, WebSockets only when they are refused."""
    durations: list[int]
    """Requests by the time to their answer, per bucket of `ServerStatus.bounds`, the last one open."""
    duration_seconds: float
    """The sum."""
    queue_wait: list[int]
    """Requests that waited before the application was called, likewise."""
    queue_wait_seconds: float
    loop_lag: list[int]
    """Turns of the event loops by how late they came, likewise."""
    loop_lag_seconds: float
    streams: list[int]
    """Streams and WebSockets that ended, by their life, likewise."""
    stream_seconds: float
    counts: dict[str, int]
    """accepted, adopted, handoffs_sent, ..., bytes_in, bytes_out."""
    ended: dict[str, int]
    """Connections that left a process, by reason."""
    stream_ended: dict[str, int]
    """Streams and WebSockets, by reason."""


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    """Counts up from 1."""
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
    """Resident memory in bytes, shared pages counted whole; null when the process is gone."""
    pss: int | None
    """Proportional memory in bytes, shared pages divided among their users; null where the system doesn't tell."""
    cpu_seconds: float | None
    cpu_percent: float | None
    """Of one core, since the last look; 0.0 at the first."""
    answers: bool
    """Whether it answered within REPORT_TIMEOUT. A worker that computes doesn't."""
    report: ChildReport | None
    """null when it didn't answer, or isn't ready yet."""
    deadline: float | None
    """Seconds until it is killed, unless it moves on; null when there is no such limit."""
    board: BoardStatus | None = None
    """null when it has not begun to tell."""


class GenerationStatus(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    state: Literal["starting", "serving", "draining", "gone"]
    reload_id: str
    """Of the reload that starts or drains it; "" when none does."""
    template_pid: int
    """0 when there is none."""
    processes: list[ProcessStatus]


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole server at one moment, at most STATUS_TTL old."""

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
    """Wanted."""
    pools: int
    log_level: str
    listeners: list[ListenerStatus]
    generations: list[GenerationStatus]
    bounds: list[float] = []
    """Upper bounds in seconds of the buckets of all histograms but the last bucket, which has none."""
    totals: dict[str, RoleTotals] = {}
    """By role."""
    deaths: dict[str, int] = {}
    """Processes that ended though they were to go on, by role and reason: worker hung, pool signal, ..."""
    events: list[TimelineEvent] = []
    """What happened of late, oldest first."""


class ReloadParams(msgspec.Struct, frozen=True, kw_only=True):
    wait: bool = False
    """Also until the old generation is gone."""


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
    """Whether it takes the idle connections too: only when both versions speak the same messages."""


class StopParams(msgspec.Struct, frozen=True, kw_only=True):
    now: bool = False
    """Wait for nobody."""


class ScaleParams(msgspec.Struct, frozen=True, kw_only=True):
    workers: int | None = None
    step: int | None = None
    """Instead: so many more, or fewer."""


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
    """Of every thread, as faulthandler writes them."""
    tasks: str
    """Of every task of the event loop; "" when the loop doesn't turn."""
    note: str
    """What was wrong; "" when nothing was."""


class StacksResult(msgspec.Struct, frozen=True, kw_only=True):
    processes: list[ProcessStacks]


class LogLevelParams(msgspec.Struct, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"]


class PrestopParams(msgspec.Struct, frozen=True, kw_only=True):
    delay: float
    """Seconds to wait at least: until every load balancer knows."""
    quiet: float
    """Seconds without a new connection that make it safe."""
    timeout: float
    """Seconds to wait at most."""
    end_streams: bool = False
    """Afterwards end the streams within their grace, while requests are still served."""


class PrestopResult(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float
    quiet: bool
    """False when new connections came until the end."""
    running: list[Running]
    """What is left to finish."""


PING: Final = Method("ping", Empty, Empty, "whether the supervisor's loop turns")
STATUS: Final = Method("status", StatusParams, ServerStatus, "the whole server at this moment")
RELOAD: Final = Method("reload", ReloadParams, ReloadResult, "start a new generation; progress: its steps")
UPGRADE: Final = Method(
    "upgrade", UpgradeParams, UpgradeResult, "a new server takes over the listeners, this one drains and ends"
)
STOP: Final = Method("stop", StopParams, Empty, "stop the server; answered when it has begun")
SCALE: Final = Method(
    "scale", ScaleParams, ScaleResult, "another number of workers; answered when they serve"
)
HOLD: Final = Method("hold", HoldParams, HoldResult, "take readiness away, or give it back")
RESTART_WORKER: Final = Method(
    "restart_worker", RestartParams, RestartResult, "a fresh process for a slot; answered when it serves"
)
STACKS: Final = Method("stacks", StacksParams, StacksResult, "every Python stack of live processes")
LOG_LEVEL: Final = Method("log_level", LogLevelParams, Empty, "log from this level on, in every process")
PRESTOP: Final = Method(
    "prestop", PrestopParams, PrestopResult, "take readiness away and wait until no new connections come"
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
