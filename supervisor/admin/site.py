"""The paths of the admin address."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import anyio

from hsrv.logs.logging import get_logger
from hsrv.options.bindspec import TcpBind, parse_bind
from hsrv.options.config import Config
from hsrv.supervisor.admin.actions import action_routes
from hsrv.supervisor.admin.dashboard.dashboard import Dashboard
from hsrv.supervisor.admin.dashboard.feed import Feed
from hsrv.supervisor.admin.http.address import AdminAddress
from hsrv.supervisor.admin.http.guard import Guard
from hsrv.supervisor.admin.http.route import AdminRoute, Request, Response, json_response
from hsrv.supervisor.admin.http.server import AdminServer
from hsrv.supervisor.admin.probes import Probes
from hsrv.supervisor.operators.operator import Desk
from hsrv.supervisor.plan.actions import Report
from hsrv.supervisor.runtime.background import BackgroundThread
from hsrv.supervisor.runtime.reports import ProcessExited
from hsrv.system import metricsdir

if TYPE_CHECKING:
    from hsrv.supervisor.admin.metrics.appmetrics import AppMetrics
    from hsrv.supervisor.admin.metrics.metrics import Server

CLEAN_UP_DELAY: Final = 1.0
"""Seconds between a death and the merging of its files: several processes may die at once."""

log = get_logger("hsrv.supervisor")


class Admin:
    """The admin address of one server."""

    def __init__(
        self,
        config: Config,
        address: AdminAddress,
        server: "Server",
        desk: Desk,
        app_metrics: "AppMetrics | None",
    ) -> None:
        """`app_metrics`: None if switched off."""
        self._app_metrics = app_metrics
        self._background = BackgroundThread()
        guard = Guard(token=address.token, names=list(_names(config)), writable=config.admin_write)
        self._server = AdminServer(
            address.listeners,
            {
                **routes(
                    server,
                    app_metrics,
                    self._background,
                    token=bool(address.token),
                    writable=config.admin_write,
                ),
                **action_routes(desk),
            },
            guard,
        )
        self._deaths = anyio.Event()

    async def serve(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._server.serve)
            if self._app_metrics is not None:
                tasks.start_soon(self._clean_up, self._app_metrics)

    def hear(self, report: Report) -> None:
        if isinstance(report, ProcessExited):  # it may have metrics files
            self._deaths.set()

    async def _clean_up(self, app_metrics: "AppMetrics") -> None:
        while True:
            await self._deaths.wait()
            await anyio.sleep(CLEAN_UP_DELAY)
            self._deaths = anyio.Event()
            try:
                await self._background.run(app_metrics.compact)
            except Exception as error:  # a full disk, or files that the application has put there
                log.warning("application metrics not put together", error=repr(error))

    def close(self) -> None:
        """When all processes have ended."""
        if self._app_metrics is not None:
            self._app_metrics.close()


def app_metrics_of(config: Config) -> "AppMetrics | None":
    """None if switched off, or if the user has set a directory."""
    from hsrv.supervisor.admin.metrics.appmetrics import AppMetrics  # noqa: PLC0415  # imports prometheus-client

    if not config.app_metrics or metricsdir.VARIABLE in os.environ:
        return None
    try:
        return AppMetrics.prepare(config.run_dir)
    except OSError as error:
        log.warning("no application metrics", error=str(error))
        return None


def _names(config: Config) -> Iterator[str]:
    yield from config.admin_host
    bind = parse_bind(config.admin or "")
    if isinstance(bind, TcpBind):
        yield bind.host


def routes(
    server: "Server",
    app_metrics: "AppMetrics | None",
    background: BackgroundThread,
    *,
    token: bool,
    writable: bool,
) -> dict[str, AdminRoute]:
    """The paths that change nothing. `token`: whether one is needed; `writable`: whether there are commands."""
    from hsrv.supervisor.admin.metrics.metrics import Metrics  # noqa: PLC0415  # imports prometheus-client

    probes = Probes(server.plan)

    async def status(request: Request) -> Response:
        return json_response(await server.status.read())

    feed = Feed(server.status.read, writable=writable)
    return {
        "/": AdminRoute(Dashboard(needs_token=token).page, public=True),
        "/events": AdminRoute(feed.events),
        "/livez": AdminRoute(probes.livez, public=True),
        "/readyz": AdminRoute(probes.readyz, public=True),
        "/startupz": AdminRoute(probes.startupz, public=True),
        "/metrics": AdminRoute(Metrics(server, app_metrics, background).metrics),
        "/status.json": AdminRoute(status),
    }
