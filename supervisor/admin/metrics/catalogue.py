"""Every metric of the server: its name, meaning, labels, and where in a snapshot of the server it is read. Pure.

Names and units by the Prometheus conventions. What has ended still counts: totals belong to the server, or to the slot.
docs/metrics.md is made from this table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hsrv.board.layout import CLASSES, Count, Gauge, Histogram
from hsrv.board.snapshot import NOTHING, Timing, Totals
from hsrv.common.terms import DeathReason, EndReason, Role
from hsrv.supervisor.health.health import Kind as HangKind
from hsrv.supervisor.plan.fleet import Key
from hsrv.supervisor.reports.resources import Usage


@dataclass(frozen=True, kw_only=True)
class MetricsSnapshot:
    """The server at one moment."""

    hsrv: str
    """Version."""
    python: str
    started_at: float
    """Seconds since the epoch."""
    ready: bool
    generation: int
    """0 when none serves."""
    workers_wanted: int
    pools_wanted: int
    processes: Mapping[tuple[Role, str], int]
    """By role and state."""
    slots: Mapping[Key, Totals]
    """Of every slot that ever was."""
    gauges: Mapping[Key, tuple[int, ...]]
    """By slot that is taken: `Gauge`."""
    usage: Mapping[Key, Usage]
    """Of those who live."""
    cpu_seconds: Mapping[Key, float]
    """Of every slot that ever was looked at."""
    deaths: Mapping[tuple[str, str], int]
    """By role and reason."""
    hangs: Mapping[tuple[str, str], int]
    """By role and kind."""
    recycled: Mapping[str, int]
    reloads: Mapping[str, int]
    listeners: Mapping[str, tuple[int, int]]
    """URL to how many connections wait, and how many may; of those that tell."""


Labels = tuple[str, ...]
Sample = tuple[Labels, float | Timing]


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"
    """Always 1: the labels are what it tells."""


@dataclass(frozen=True)
class Metric:
    name: str
    kind: Kind
    help: str
    labels: Labels
    read: Callable[[MetricsSnapshot], Iterable[Sample]]


SLOT: Final = ("role", "slot")

_ROLES: Final = (Role.WORKER, Role.POOL)
_RELOADS: Final = ("succeeded", "failed")


def _slot(key: Key) -> Labels:
    return str(key[0]), str(key[1])


def _by_role(snapshot: MetricsSnapshot) -> Iterator[tuple[Role, Totals]]:
    for role in _ROLES:
        whole = NOTHING
        for (owner, _), totals in snapshot.slots.items():
            if owner is role:
                whole += totals
        yield role, whole


# how a metric is read


def _requests(snapshot: MetricsSnapshot) -> Iterator[Sample]:
    for key, totals in snapshot.slots.items():
        for kind, timing in totals.durations().items():
            yield (*_slot(key), kind), timing.count


def _durations(snapshot: MetricsSnapshot) -> Iterator[Sample]:
    for role, totals in _by_role(snapshot):
        first, *others = totals.durations().values()
        for timing in others:
            first += timing
        yield (str(role),), first


def _timing(histogram: Histogram) -> Callable[[MetricsSnapshot], Iterator[Sample]]:
    def read(snapshot: MetricsSnapshot) -> Iterator[Sample]:
        for role, totals in _by_role(snapshot):
            yield (str(role),), totals.timing(histogram)

    return read


def _count(count: Count) -> Callable[[MetricsSnapshot], Iterator[Sample]]:
    def read(snapshot: MetricsSnapshot) -> Iterator[Sample]:
        for key, totals in snapshot.slots.items():
            yield _slot(key), totals.count(count)

    return read


def _gauge(gauge: Gauge) -> Callable[[MetricsSnapshot], Iterator[Sample]]:
    def read(snapshot: MetricsSnapshot) -> Iterator[Sample]:
        for key, gauges in snapshot.gauges.items():
            yield _slot(key), gauges[gauge]

    return read


def _handoffs(snapshot: MetricsSnapshot) -> Iterator[Sample]:
    whole = sum((totals for _, totals in _by_role(snapshot)), NOTHING)
    for outcome, count in (
        ("sent", Count.HANDOFFS_SENT),
        ("refused", Count.HANDOFFS_REFUSED),
        ("received", Count.HANDOFFS_RECEIVED),
    ):
        yield (outcome,), whole.count(count)


def _ended(
    read_ends: Callable[[Totals], Mapping[EndReason, int]],
) -> Callable[[MetricsSnapshot], Iterator[Sample]]:
    def read(snapshot: MetricsSnapshot) -> Iterator[Sample]:
        for role, totals in _by_role(snapshot):
            for reason, count in read_ends(totals).items():
                yield (str(role), str(reason)), count

    return read


def _of_processes(
    what: Callable[[MetricsSnapshot], Mapping[tuple[str, str], int]], known: type[StrEnum]
) -> Callable[[MetricsSnapshot], Iterator[Sample]]:
    """`known`: each of them is shown from the beginning, so that the first one is seen as an increase."""

    def read(snapshot: MetricsSnapshot) -> Iterator[Sample]:
        counts = {(str(role), str(why)): count for (role, why), count in what(snapshot).items()}
        nothing = {(str(role), str(why)): 0 for role in _ROLES for why in known}
        yield from {**nothing, **counts}.items()

    return read


def _recycled(snapshot: MetricsSnapshot) -> Iterator[Sample]:
    for reason, count in snapshot.recycled.items():
        yield (str(reason),), count


def _reloads(snapshot: MetricsSnapshot) -> Iterator[Sample]:
    for outcome in _RELOADS:
        yield (outcome,), snapshot.reloads.get(outcome, 0)


def _used(what: Callable[[Usage], float | None]) -> Callable[[MetricsSnapshot], Iterator[Sample]]:
    def read(snapshot: MetricsSnapshot) -> Iterator[Sample]:
        for key, usage in snapshot.usage.items():
            value = what(usage)
            if value is not None:
                yield _slot(key), value

    return read


def _cpu(snapshot: MetricsSnapshot) -> Iterator[Sample]:
    for key, seconds in snapshot.cpu_seconds.items():
        yield _slot(key), seconds


def _processes(snapshot: MetricsSnapshot) -> Iterator[Sample]:
    for (role, state), count in snapshot.processes.items():
        yield (str(role), state), count


def _listener(place: int) -> Callable[[MetricsSnapshot], Iterator[Sample]]:
    def read(snapshot: MetricsSnapshot) -> Iterator[Sample]:
        for url, values in snapshot.listeners.items():
            yield (url,), values[place]

    return read


def _plain(value: Callable[[MetricsSnapshot], float]) -> Callable[[MetricsSnapshot], Iterator[Sample]]:
    def read(snapshot: MetricsSnapshot) -> Iterator[Sample]:
        yield (), value(snapshot)

    return read


def _build(snapshot: MetricsSnapshot) -> Iterator[Sample]:
    yield (snapshot.hsrv, snapshot.python), 1


def _slot_counter(name: str, help_: str, count: Count) -> Metric:
    return Metric(name, Kind.COUNTER, help_, SLOT, _count(count))


def _slot_gauge(name: str, help_: str, gauge: Gauge) -> Metric:
    return Metric(name, Kind.GAUGE, help_, SLOT, _gauge(gauge))


def _role_histogram(name: str, help_: str, histogram: Histogram) -> Metric:
    return Metric(name, Kind.HISTOGRAM, help_, ("role",), _timing(histogram))


# fmt: off
CATALOGUE: Final = (
    Metric("hsrv_requests_total", Kind.COUNTER, f"Requests answered, by class of status ({', '.join(CLASSES)}; cut: before a status was sent). Streams count when they begin, WebSockets only when they are refused.", (*SLOT, "status"), _requests),
    Metric("hsrv_request_duration_seconds", Kind.HISTOGRAM, "From the application's call to the end of its response; to the first bytes of a stream.", ("role",), _durations),
    _role_histogram("hsrv_queue_wait_seconds", "From a complete request head to the application's call, of requests that had to wait.", Histogram.QUEUE_WAIT),
    _role_histogram("hsrv_loop_lag_seconds", "How late a timer of the event loop acted, four times a second.", Histogram.LOOP_LAG),
    _role_histogram("hsrv_stream_duration_seconds", "The life of streams and WebSockets that have ended.", Histogram.STREAM),
    _slot_gauge("hsrv_connections", "Client connections at present.", Gauge.CONNECTIONS),
    _slot_gauge("hsrv_connections_idle", "Of these: between two requests.", Gauge.IDLE),
    _slot_gauge("hsrv_connections_parked", "Idle connections in the parking lot.", Gauge.PARKED),
    _slot_gauge("hsrv_requests_waiting", "Requests that wait for a place, or for room in the handoff channel.", Gauge.WAITING),
    _slot_gauge("hsrv_requests_in_flight", "Application calls that wait for something, streams among them.", Gauge.IN_FLIGHT),
    _slot_gauge("hsrv_streams_open", "Responses that turned out to be long-lived.", Gauge.STREAMS),
    _slot_gauge("hsrv_websockets_open", "WebSockets.", Gauge.WEBSOCKETS),
    _slot_counter("hsrv_streams_opened_total", "Streams begun.", Count.STREAMS_OPENED),
    _slot_counter("hsrv_websockets_opened_total", "WebSockets accepted.", Count.WEBSOCKETS_OPENED),
    _slot_counter("hsrv_streams_in_worker_total", "Streams that nobody had announced, so that they ran where they were: --stream would have helped.", Count.STREAMS_IN_WORKER),
    Metric("hsrv_handoffs_total", Kind.COUNTER, "Requests for the pool: sent by a worker, received by a pool, or refused with 503.", ("outcome",), _handoffs),
    _slot_counter("hsrv_connections_accepted_total", "New client connections.", Count.ACCEPTED),
    _slot_counter("hsrv_connections_adopted_total", "Idle connections taken over from another process.", Count.ADOPTED),
    _slot_counter("hsrv_connections_rescued_total", "Connections moved to other workers because the event loop stood still.", Count.RESCUED),
    _slot_counter("hsrv_parkings_total", "Idle connections sent to the parking lot.", Count.PARKED),
    Metric("hsrv_connections_ended_total", Kind.COUNTER, "Connections that left a process, by reason.", ("role", "reason"), _ended(Totals.ended)),
    Metric("hsrv_streams_ended_total", Kind.COUNTER, "Streams and WebSockets that ended, by reason.", ("role", "reason"), _ended(Totals.stream_ended)),
    _slot_counter("hsrv_requests_shed_total", "Requests answered with 503 because a queue or limit was full.", Count.SHED),
    _slot_counter("hsrv_requests_refused_total", "Requests that were malformed or over a limit.", Count.REFUSED),
    _slot_counter("hsrv_requests_timed_out_total", "Requests that ran longer than --request-timeout and were cancelled.", Count.TIMED_OUT),
    _slot_counter("hsrv_app_errors_total", "Application calls that raised, or broke the ASGI protocol.", Count.APP_ERRORS),
    _slot_counter("hsrv_packets_undecodable_total", "Packets from other processes that were dropped.", Count.UNDECODABLE),
    _slot_counter("hsrv_received_bytes_total", "Bytes from clients.", Count.BYTES_IN),
    _slot_counter("hsrv_sent_bytes_total", "Bytes to clients.", Count.BYTES_OUT),
    Metric("hsrv_listener_waiting_connections", Kind.GAUGE, "Connections that no worker has accepted yet, where the system tells.", ("listener",), _listener(0)),
    Metric("hsrv_listener_backlog_connections", Kind.GAUGE, "The most that may wait.", ("listener",), _listener(1)),
    Metric("hsrv_process_deaths_total", Kind.COUNTER, "Processes that ended though they were to go on, or had to be killed.", ("role", "reason"), _of_processes(lambda one: one.deaths, DeathReason)),
    Metric("hsrv_process_hangs_total", Kind.COUNTER, "Processes that hung for a while or for good.", ("role", "kind"), _of_processes(lambda one: one.hangs, HangKind)),
    Metric("hsrv_processes_recycled_total", Kind.COUNTER, "Workers that were replaced, by reason.", ("reason",), _recycled),
    Metric("hsrv_reloads_total", Kind.COUNTER, "Reloads that are over.", ("outcome",), _reloads),
    Metric("hsrv_ready", Kind.GAUGE, "1 while /readyz says so.", (), _plain(lambda one: int(one.ready))),
    Metric("hsrv_generation", Kind.GAUGE, "Number of the generation that serves; 0 when none does.", (), _plain(lambda one: one.generation)),
    Metric("hsrv_workers_wanted", Kind.GAUGE, "Workers, as configured or scaled.", (), _plain(lambda one: one.workers_wanted)),
    Metric("hsrv_pools_wanted", Kind.GAUGE, "Pools, as configured.", (), _plain(lambda one: one.pools_wanted)),
    Metric("hsrv_processes", Kind.GAUGE, "Processes of all generations, by state.", ("role", "state"), _processes),
    Metric("hsrv_process_resident_memory_bytes", Kind.GAUGE, "Resident memory, shared pages counted whole.", SLOT, _used(lambda one: one.rss)),
    Metric("hsrv_process_proportional_memory_bytes", Kind.GAUGE, "Memory with shared pages divided among their users, at most 5 s old; where the system tells.", SLOT, _used(lambda one: one.pss)),
    Metric("hsrv_process_cpu_seconds_total", Kind.COUNTER, "CPU time of all processes that had the slot; of one that is gone, up to the last scrape of its life.", SLOT, _cpu),
    Metric("hsrv_process_open_fds", Kind.GAUGE, "Open descriptors.", SLOT, _used(lambda one: one.descriptors)),
    Metric("hsrv_start_time_seconds", Kind.GAUGE, "When the server started, since the epoch.", (), _plain(lambda one: one.started_at)),
    Metric("hsrv_build_info", Kind.INFO, "The version of hsrv, and of Python.", ("version", "python"), _build),
)
# fmt: on
