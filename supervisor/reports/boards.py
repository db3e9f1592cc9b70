"""Scoreboards in the format of `status`. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from hsrv.board.layout import STALLED_AFTER, Count, Gauge, Histogram
from hsrv.board.snapshot import NOTHING, BoardRequest, Snapshot, Totals
from hsrv.common.terms import EndReason, Role
from hsrv.rpc.methods import ChildReport
from hsrv.rpc.operator import BoardStatus, Occupying, RoleTotals
from hsrv.supervisor.plan.fleet import Key

_ROLES: Final = (Role.WORKER, Role.POOL)


def board_status(snapshot: Snapshot | None, now: float) -> BoardStatus | None:
    """`now`: time.monotonic()."""
    if snapshot is None:
        return None
    loop_silence = now - snapshot.loop_beat if snapshot.loop_beat else 0.0
    turns = loop_silence < STALLED_AFTER
    return BoardStatus(
        thread_silence=round(now - snapshot.thread_beat, 3) if snapshot.thread_beat else 0.0,
        loop_silence=round(loop_silence, 3),
        current=_occupying(snapshot.current or (None if turns else snapshot.stalled), now),
        oldest=_occupying(snapshot.oldest, now),
        note="" if turns else snapshot.note,
        gauges={gauge.name.lower(): snapshot.gauge(gauge) for gauge in Gauge},
        requests={kind: timing.count for kind, timing in snapshot.totals.durations().items()},
    )


def with_counters(report: ChildReport, snapshot: Snapshot | None) -> ChildReport:
    """The report of a process, with what its scoreboard counts: nothing is counted in two places."""
    if snapshot is None:
        return report
    gauge, count = snapshot.gauge, snapshot.totals.count
    parked = gauge(Gauge.PARKED)
    return msgspec.structs.replace(
        report,
        connections=gauge(Gauge.CONNECTIONS) + gauge(Gauge.WEBSOCKETS) + parked,
        idle=gauge(Gauge.IDLE),
        waiting=gauge(Gauge.WAITING),
        handoffs_sent=count(Count.HANDOFFS_SENT),
        handoffs_received=count(Count.HANDOFFS_RECEIVED),
        parked=count(Count.PARKED) + parked,
        adopted=count(Count.ADOPTED),
        undecodable=count(Count.UNDECODABLE),
        accepted=count(Count.ACCEPTED),
        ended=_happened(snapshot.totals.ended()),
    )


def _occupying(request: BoardRequest | None, now: float) -> Occupying | None:
    if request is None:
        return None
    return Occupying(
        method=request.method,
        path=request.path,
        request_id=request.request_id,
        client=request.client,
        seconds=round(now - request.since, 3),
    )


def by_role(slots: Mapping[Key, Totals]) -> dict[str, RoleTotals]:
    """The totals of the slots, added up."""
    sums = dict.fromkeys(_ROLES, NOTHING)
    for (role, _), totals in slots.items():
        sums[role] += totals
    return {str(role): _role_totals(totals) for role, totals in sums.items()}


def _role_totals(totals: Totals) -> RoleTotals:
    durations = totals.durations()
    whole = durations["cut"]
    for kind in ("1xx", "2xx", "3xx", "4xx", "5xx"):
        whole += durations[kind]
    queue_wait, loop_lag, streams = (totals.timing(one) for one in Histogram)
    return RoleTotals(
        requests={kind: timing.count for kind, timing in durations.items()},
        durations=list(whole.counts),
        duration_seconds=round(whole.seconds, 6),
        queue_wait=list(queue_wait.counts),
        queue_wait_seconds=round(queue_wait.seconds, 6),
        loop_lag=list(loop_lag.counts),
        loop_lag_seconds=round(loop_lag.seconds, 6),
        streams=list(streams.counts),
        stream_seconds=round(streams.seconds, 6),
        counts={count.name.lower(): totals.count(count) for count in Count},
        ended=_happened(totals.ended()),
        stream_ended=_happened(totals.stream_ended()),
    )


def _happened(ended: Mapping[EndReason, int]) -> dict[str, int]:
    return {str(reason): count for reason, count in ended.items() if count}
