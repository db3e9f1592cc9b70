"""Every metric of the server: its name, meaning, labels, and how it is read from a snapshot. Pure.

Names and units follow the conventions of Prometheus. Totals belong to the server or the slot, so they include processes
that have ended. docs/metrics.md is generated from this table.
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
    """Of every slot since the start."""
    gauges: Mapping[Key, tuple[int, ...]]
    """By slot with a process; indexed by `Gauge`."""
    usage: Mapping[Key, Usage]
    """Of living processes."""
    cpu_seconds: Mapping[Key, float]
    """Of every slot that was measured."""
    deaths: Mapping[tuple[str, str], int]
    """By role and reason."""
    hangs: Mapping[tuple[str, str], int]
    """By role and kind."""
    recycled: Mapping[str, int]
    reloads: Mapping[str, int]
    listeners: Mapping[str, tuple[int, int]]
    """URL: (waiting connections, their maximum), if the system reports it."""


Labels = tuple[str, ...]
Sample = tuple[Labels, float | Timing]


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"
    """Always 1: the information is in the labels."""


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


# readers of metrics


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
        ("returned", Count.HANDOFFS_RETURNED),
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
    """`known`: shown from the start with 0, so that the first death is seen as an increase."""

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
    Metric("hsrv_requests_total", Kind.COUNTER, f"Requests answered, by class of status ({', '.join(CLASSES)}; cut: without a status). A stream counts when it begins, a WebSocket only if it is refused.", (*SLOT, "status"), _requests),
    Metric("hsrv_request_duration_seconds", Kind.HISTOGRAM, "Time from the application's call to the end of its response, or to the first bytes of a stream.", ("role",), _durations),
    _role_histogram("hsrv_queue_wait_seconds", "Time from a complete request head to the application's call, for requests that had to wait.", Histogram.QUEUE_WAIT),
    _role_histogram("hsrv_loop_lag_seconds", "Delay of a timer of the event loop, measured four times a second.", Histogram.LOOP_LAG),
    _role_histogram("hsrv_stream_duration_seconds", "Duration of streams and WebSockets that have ended.", Histogram.STREAM),
    _slot_gauge("hsrv_connections", "Open client connections.", Gauge.CONNECTIONS),
    _slot_gauge("hsrv_connections_idle", "Connections between two requests.", Gauge.IDLE),
    _slot_gauge("hsrv_connections_parked", "Idle connections in the parking lot.", Gauge.PARKED),
    _slot_gauge("hsrv_requests_waiting", "Requests that wait for a place, for room in the handoff channel, or, in a pool, for room in the adopt channel.", Gauge.WAITING),
    _slot_gauge("hsrv_requests_in_flight", "Application calls that wait for something, including streams.", Gauge.IN_FLIGHT),
    _slot_gauge("hsrv_streams_open", "Open streams: responses that turned out to be long-lived.", Gauge.STREAMS),
    _slot_gauge("hsrv_websockets_open", "Open WebSockets.", Gauge.WEBSOCKETS),
    _slot_counter("hsrv_streams_opened_total", "Streams opened.", Count.STREAMS_OPENED),
    _slot_counter("hsrv_websockets_opened_total", "WebSockets accepted.", Count.WEBSOCKETS_OPENED),
    _slot_counter("hsrv_streams_in_worker_total", "Streams that ran in a worker because nothing announced them; --stream avoids that.", Count.STREAMS_IN_WORKER),
    Metric("hsrv_handoffs_total", Kind.COUNTER, "Requests passed on before they ran: for the pool, sent by a worker, received by a pool, or refused with 503; returned: read by a pool, passed on to a worker.", ("outcome",), _handoffs),
    _slot_counter("hsrv_connections_accepted_total", "New client connections.", Count.ACCEPTED),
    _slot_counter("hsrv_connections_adopted_total", "Connections taken over from another process.", Count.ADOPTED),
    _slot_counter("hsrv_connections_rescued_total", "Connections moved to other processes because the event loop was blocked.", Count.RESCUED),
    _slot_counter("hsrv_parkings_total", "Idle connections sent to the parking lot.", Count.PARKED),
    Metric("hsrv_connections_ended_total", Kind.COUNTER, "Connections that were closed or moved to another process, by reason.", ("role", "reason"), _ended(Totals.ended)),
    Metric("hsrv_streams_ended_total", Kind.COUNTER, "Streams and WebSockets that ended, by reason.", ("role", "reason"), _ended(Totals.stream_ended)),
    _slot_counter("hsrv_requests_shed_total", "Requests answered with 503 because a queue or limit was full.", Count.SHED),
    _slot_counter("hsrv_requests_refused_total", "Requests refused because they were malformed or over a limit.", Count.REFUSED),
    _slot_counter("hsrv_requests_timed_out_total", "Requests that took longer than --request-timeout and were cancelled.", Count.TIMED_OUT),
    _slot_counter("hsrv_app_errors_total", "Application calls that raised an exception or violated the ASGI protocol.", Count.APP_ERRORS),
    _slot_counter("hsrv_packets_undecodable_total", "Packets from other processes that could not be decoded and were dropped.", Count.UNDECODABLE),
    _slot_counter("hsrv_received_bytes_total", "Bytes received from clients.", Count.BYTES_IN),
    _slot_counter("hsrv_sent_bytes_total", "Bytes sent to clients.", Count.BYTES_OUT),
    Metric("hsrv_listener_waiting_connections", Kind.GAUGE, "Connections that no worker has accepted yet, if the system reports them.", ("listener",), _listener(0)),
    Metric("hsrv_listener_backlog_connections", Kind.GAUGE, "Maximum number of these connections.", ("listener",), _listener(1)),
    Metric("hsrv_process_deaths_total", Kind.COUNTER, "Processes that ended unexpectedly or were killed.", ("role", "reason"), _of_processes(lambda one: one.deaths, DeathReason)),
    Metric("hsrv_process_hangs_total", Kind.COUNTER, "Hangs of processes, whether they recovered or not.", ("role", "kind"), _of_processes(lambda one: one.hangs, HangKind)),
    Metric("hsrv_processes_recycled_total", Kind.COUNTER, "Workers that were replaced, by reason.", ("reason",), _recycled),
    Metric("hsrv_reloads_total", Kind.COUNTER, "Reloads that have ended.", ("outcome",), _reloads),
    Metric("hsrv_ready", Kind.GAUGE, "1 if the server is ready (/readyz), else 0.", (), _plain(lambda one: int(one.ready))),
    Metric("hsrv_generation", Kind.GAUGE, "Number of the generation that serves; 0 if none does.", (), _plain(lambda one: one.generation)),
    Metric("hsrv_workers_wanted", Kind.GAUGE, "Wanted number of workers, as configured or scaled.", (), _plain(lambda one: one.workers_wanted)),
    Metric("hsrv_pools_wanted", Kind.GAUGE, "Configured number of pools.", (), _plain(lambda one: one.pools_wanted)),
    Metric("hsrv_processes", Kind.GAUGE, "Processes of all generations, by state.", ("role", "state"), _processes),
    Metric("hsrv_process_resident_memory_bytes", Kind.GAUGE, "Resident memory, shared pages counted whole.", SLOT, _used(lambda one: one.rss)),
    Metric("hsrv_process_proportional_memory_bytes", Kind.GAUGE, "Memory with shared pages divided among their users, at most 5 s old; if the system reports it.", SLOT, _used(lambda one: one.pss)),
    Metric("hsrv_process_cpu_seconds_total", Kind.COUNTER, "CPU time of all processes that have had the slot; of an ended one, up to the last scrape before its end.", SLOT, _cpu),
    Metric("hsrv_process_open_fds", Kind.GAUGE, "Open file descriptors.", SLOT, _used(lambda one: one.descriptors)),
    Metric("hsrv_start_time_seconds", Kind.GAUGE, "Start time of the server, in seconds since the epoch.", (), _plain(lambda one: one.started_at)),
    Metric("hsrv_build_info", Kind.INFO, "The versions of hsrv and Python.", ("version", "python"), _build),
)
# fmt: on
