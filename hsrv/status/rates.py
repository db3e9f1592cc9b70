"""Rates and quantiles from the counters of a server, for `hsrv top` and the dashboard. Pure.

Counters only grow, so two answers of `status` and the time between them give a rate, and the difference of two
histograms is the histogram of that time. Promises: a process that started in between counts from zero; no result is
negative; the same answer fed twice gives the same result.
"""

from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec

from hsrv.common.histogram import quantile

if TYPE_CHECKING:  # only for types: a pure module doesn't import a loop
    from hsrv.rpc.operator import ProcessStatus, RoleTotals, ServerStatus

WINDOW: Final = 10.0
"""Seconds over which quantiles are computed: p99 of a single second would be the slowest of a few requests."""

LEAST: Final = 0.2
"""Minimum seconds between two answers for a rate."""

FAILED: Final = ("5xx", "cut")


class RoleRates(msgspec.Struct, frozen=True, kw_only=True):
    """All processes of a role together. Rates per second since the last answer, quantiles in seconds over WINDOW."""

    requests: float
    failed: float
    """Of these: 5xx, and those without a response."""
    p50: float | None
    """null: there was no request."""
    p99: float | None
    queue_wait_p99: float | None
    """Of the requests that waited at all before the application was called."""
    loop_lag_p99: float | None
    handoffs: float
    """Sent by workers, received by pools."""
    shed: float
    bytes_in: float
    bytes_out: float


class ProcessRates(msgspec.Struct, frozen=True, kw_only=True):
    requests: float | None
    """Per second; null without a scoreboard."""
    cpu: float | None
    """Cores: 1.0 is one core, busy all the time."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float
    """Time between the two answers."""
    roles: dict[str, RoleRates]
    processes: dict[int, ProcessRates]
    """By pid."""


class Meter:
    """Takes successive answers of `status`, keeps those of the last WINDOW."""

    def __init__(self) -> None:
        self._seen: deque[ServerStatus] = deque()
        self._last: Rates | None = None

    def feed(self, status: "ServerStatus") -> Rates | None:
        """None until there are two answers of the same server to compare."""
        if self._seen and not _same_server(self._seen[-1], status):
            self._seen.clear()
            self._last = None
        if self._seen and status.uptime - self._seen[-1].uptime < LEAST:
            return self._last
        self._seen.append(status)
        while len(self._seen) > 2 and status.uptime - self._seen[1].uptime >= WINDOW:
            self._seen.popleft()
        if len(self._seen) > 1:
            self._last = rates(self._seen[-2], status, since=self._seen[0])
        return self._last


def _same_server(before: "ServerStatus", after: "ServerStatus") -> bool:
    """Whether both are of one server. A clock that was set back counts as another server: times can't be compared."""
    return (before.pid, before.started_at) == (after.pid, after.started_at) and after.uptime >= before.uptime


def rates(before: "ServerStatus", after: "ServerStatus", *, since: "ServerStatus") -> Rates:
    """The rates between two answers. `since`: an answer from the start of the window for quantiles."""
    seconds = after.uptime - before.uptime
    known = {process.pid: process for process in processes(before)}
    return Rates(
        seconds=round(seconds, 3),
        roles={
            role: _role(before.totals.get(role), now, since.totals.get(role), after.bounds, seconds)
            for role, now in after.totals.items()
        },
        processes={
            process.pid: _process(known.get(process.pid), process, seconds)
            for process in processes(after)
            if process.pid
        },
    )


def processes(status: "ServerStatus") -> "chain[ProcessStatus]":
    """Of all generations."""
    return chain.from_iterable(generation.processes for generation in status.generations)


def _role(
    before: "RoleTotals | None",
    after: "RoleTotals",
    since: "RoleTotals | None",
    bounds: Sequence[float],
    seconds: float,
) -> RoleRates:
    def grown(name: str) -> float:
        then = before.counts.get(name, 0) if before is not None else 0
        return per_second(then, after.counts.get(name, 0), seconds)

    answered = grow(before.requests if before is not None else {}, after.requests)
    durations = between(since.durations if since is not None else [], after.durations)
    queue_wait = between(since.queue_wait if since is not None else [], after.queue_wait)
    loop_lag = between(since.loop_lag if since is not None else [], after.loop_lag)
    return RoleRates(
        requests=round(sum(answered.values()) / seconds, 2),
        failed=round(sum(answered.get(kind, 0) for kind in FAILED) / seconds, 2),
        p50=quantile(durations, bounds, 0.5),
        p99=quantile(durations, bounds, 0.99),
        queue_wait_p99=quantile(queue_wait, bounds, 0.99),
        loop_lag_p99=quantile(loop_lag, bounds, 0.99),
        handoffs=grown("handoffs_sent") + grown("handoffs_received"),
        shed=grown("shed"),
        bytes_in=grown("bytes_in"),
        bytes_out=grown("bytes_out"),
    )


def _process(before: "ProcessStatus | None", after: "ProcessStatus", seconds: float) -> ProcessRates:
    requests = cpu = None
    if after.board is not None:
        then = before.board.requests if before is not None and before.board is not None else {}
        requests = round(sum(grow(then, after.board.requests).values()) / seconds, 2)
    used = before.cpu_seconds if before is not None else 0.0
    if after.cpu_seconds is not None and used is not None:
        # a process that started between the answers used its CPU time in a shorter period
        cpu = round(max(0.0, after.cpu_seconds - used) / min(seconds, max(after.age, LEAST)), 3)
    return ProcessRates(requests=requests, cpu=cpu)


def per_second(before: float, after: float, seconds: float) -> float:
    return round(max(0.0, after - before) / seconds, 2)


def grow(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """The increase of each counter."""
    return {name: max(0, count - before.get(name, 0)) for name, count in after.items()}


def between(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """The histogram of the time after `before`; all of `after` if `before` has other buckets."""
    if len(before) != len(after):
        return list(after)
    return [max(0, now - then) for then, now in zip(before, after, strict=True)]
