"""/metrics: a snapshot of the server and the metrics of the application, in the requested format.

Promises: no process is asked, so a scrape waits for none; long work runs in a thread; a metric of the application that
can't be exposed doesn't affect those of the server.
"""

import functools
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hsrv.common.terms import Role
from hsrv.common.version import __version__
from hsrv.logs.logging import get_logger
from hsrv.supervisor.admin.http.route import Request, Response
from hsrv.supervisor.admin.metrics import exposition
from hsrv.supervisor.admin.metrics.appmetrics import AppMetrics
from hsrv.supervisor.admin.metrics.catalogue import MetricsSnapshot
from hsrv.supervisor.plan.capacity import not_ready
from hsrv.supervisor.plan.fleet import Key
from hsrv.supervisor.plan.state import View
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.reports.resources import Usage
from hsrv.supervisor.reports.status import StatusReader
from hsrv.supervisor.reports.totals import ServerTotals
from hsrv.supervisor.reports.usage import Usages
from hsrv.supervisor.runtime.background import BackgroundThread

NEW_FORMAT: Final = "application/openmetrics-text"
OLD_FORMAT: Final = ("text/plain", "text/*", "*/*")

log = get_logger("hsrv.supervisor")


@dataclass(frozen=True)
class Server:
    """The parts of the server that are shown."""

    plan: View
    children: Mapping[int, ChildHandle]
    """By pid, all that live."""
    status: StatusReader
    totals: ServerTotals


class Metrics:
    """The page of one server."""

    def __init__(self, server: Server, app_metrics: AppMetrics | None, background: BackgroundThread) -> None:
        self._background = background
        self._server = server
        self._app_metrics = app_metrics

    async def metrics(self, request: Request) -> Response:
        openmetrics = prefers_openmetrics(request.headers.get("accept", ""))
        snapshot = self._picture(await self._server.status.usage.read())
        make = functools.partial(_page, snapshot, self._app_metrics, openmetrics=openmetrics)
        page = await self._background.run(make)
        return Response(page, exposition.OPENMETRICS if openmetrics else exposition.TEXT)

    def _picture(self, usages: Usages) -> MetricsSnapshot:
        server, plan = self._server, self._server.plan
        serving, totals = plan.serving(), server.totals
        return MetricsSnapshot(
            hsrv=__version__,
            python=platform.python_version(),
            started_at=server.status.started_at,
            ready=not not_ready(plan),
            generation=serving.number if serving is not None else 0,
            workers_wanted=plan.workers,
            pools_wanted=plan.pools,
            processes=self._processes(),
            slots=server.status.totals(),
            gauges=self._gauges(),
            usage=_by_slot(server.status.slots(), usages.by_pid),
            cpu_seconds=usages.cpu_seconds,
            deaths=dict(totals.deaths),
            hangs=dict(totals.hangs),
            recycled=dict(totals.recycled),
            reloads=dict(totals.reloads),
            listeners={
                one.url: (one.waiting, one.backlog)
                for one in server.status.listeners()
                if one.waiting is not None and one.backlog is not None
            },
        )

    def _processes(self) -> dict[tuple[Role, str], int]:
        generations = self._server.plan.generations.values()
        return Counter(
            (child.identity.role, child.state.name.lower()) for one in generations for child in one.everyone()
        )

    def _gauges(self) -> dict[Key, tuple[int, ...]]:
        found: dict[Key, tuple[int, ...]] = {}
        for handle in self._server.children.values():
            snapshot = handle.look()
            if snapshot is not None:
                key = handle.identity.role, handle.identity.slot
                before = found.get(key, (0,) * len(snapshot.gauges))
                found[key] = tuple(map(sum, zip(before, snapshot.gauges, strict=True)))
        return found


def _by_slot(slots: Mapping[int, Key], by_pid: Mapping[int, Usage]) -> dict[Key, Usage]:
    """The sum of both processes while a slot is being taken over."""
    found: dict[Key, Usage] = {}
    for pid, key in slots.items():
        usage = by_pid.get(pid)
        if usage is not None:
            found[key] = usage if key not in found else found[key].plus(usage)
    return found


def _page(snapshot: MetricsSnapshot, app_metrics: AppMetrics | None, *, openmetrics: bool) -> bytes:
    own = list(exposition.families(snapshot))
    if app_metrics is not None:
        try:
            return exposition.render([*own, *app_metrics.collect()], openmetrics=openmetrics)
        except Exception as error:  # from the application's metrics: the server's own must be exposed anyway
            log.warning("application metrics left out", error=repr(error))
    return exposition.render(own, openmetrics=openmetrics)


def prefers_openmetrics(accept: str) -> bool:
    """Whether an Accept field prefers OpenMetrics (RFC 9110 section 12.5.1)."""
    weights = dict(_weights(accept))
    wanted = weights.get(NEW_FORMAT, 0.0)
    return wanted > 0 and wanted >= max((weights.get(one, 0.0) for one in OLD_FORMAT), default=0.0)


def _weights(accept: str) -> Iterable[tuple[str, float]]:
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                weight = _number(parameter[2:])
        yield kind, weight


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
