"""The supervisor of one server: creates its parts, connects them, and ends them.

Signals, commands of operators and messages of processes are events for the plan; the loop
(`hsrv.supervisor.runtime.loop`) passes the actions that the plan decides on to the hands (`hsrv.supervisor.hands`) and
to the listeners of the reports. Promise: nothing is left behind. Must never import the application.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio

from hsrv.common.errors import ExitCode
from hsrv.ipc.anonfile import anonymous_file
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import TemplateReady
from hsrv.options.config import Config
from hsrv.supervisor.admin.http.address import NO_ADMIN, AdminAddress
from hsrv.supervisor.commands import Commands
from hsrv.supervisor.hands.hands import ProcessHands
from hsrv.supervisor.hands.templates import TemplateInputs
from hsrv.supervisor.health.healing import HangMonitor
from hsrv.supervisor.observed import Observer
from hsrv.supervisor.operators.desk import OperatorDesk
from hsrv.supervisor.operators.operator import OperatorSocket
from hsrv.supervisor.operators.reloads import Reloads
from hsrv.supervisor.plan.actions import Announce, Report, StartFailed
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.settings import settings_of
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.reports.banner import Banner
from hsrv.supervisor.reports.listeners import ServerReports
from hsrv.supervisor.reports.notify import ManagerNotifier
from hsrv.supervisor.reports.status import StatusReader
from hsrv.supervisor.runtime.configuration import Configuration
from hsrv.supervisor.runtime.launch import Launch
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.runtime.reports import ProcessReady
from hsrv.supervisor.runtime.terminal import Terminal
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.sockets.handoffs import Handoffs
from hsrv.supervisor.sockets.listeners import close_listeners
from hsrv.supervisor.sockets.noworkers import NoWorkerResponder
from hsrv.supervisor.upgrade.handover import HandedOver
from hsrv.supervisor.upgrade.keeper import ReplacementServer, hold_signals
from hsrv.supervisor.upgrade.takeover import Takeover
from hsrv.supervisor.upgrade.upgrade import Upgrades
from hsrv.supervisor.upgrade.upgradestate import ManagerDuties
from hsrv.system import blockedsignals, metricsdir
from hsrv.system.cgroupmemory import MemoryGroup

if TYPE_CHECKING:
    from hsrv.supervisor.admin.metrics.appmetrics import AppMetrics
    from hsrv.supervisor.admin.site import Admin
    from hsrv.supervisor.develop.development import Development

SIGNALS_SETTLE: Final = 0.05
"""Seconds for a signal to get from the interpreter through the event loop."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a server starts with."""

    addresses: Addresses
    banner: Banner
    operator_socket: OperatorSocket | None = None
    """The operator socket; None when there is none."""
    reread: Callable[[], Config] | None = None
    """Reads the configuration again, for a reload; raises HsrvError."""
    launch: Launch = field(default_factory=Launch.here)
    """How to start the next version of this server."""
    duties: ManagerDuties = field(default_factory=ManagerDuties)
    """Towards the service manager."""
    takeover: Takeover | None = None
    """From the server that this one replaces, with its duties."""
    admin: AdminAddress = NO_ADMIN
    """Where probes and scrapes connect."""
    observer: Observer | None = None
    """Sends events to collectors."""


class Supervisor:
    """All processes of one server."""

    def __init__(self, config: Config, start: Start) -> None:
        self._begun = start
        self._configuration = Configuration(config, start.reread)
        self._development = _development(config, self._code_changed) if config.reload else None
        self._reports = ServerReports()
        self._loop = loop = Loop(_plan_of(config, self._development), self._reports.stream.tell)
        self._handoffs = Handoffs(self._serving_number, lambda: self._configuration.config.handoff_timeout)
        living: dict[int, ChildHandle] = {}
        pressure = lambda: self._configuration.config.memory_pressure  # noqa: E731  # asked each time
        self._hangs = HangMonitor(loop, living, MemoryGroup(), pressure)
        app_metrics = _app_metrics(config) if start.admin.listeners else None
        takeover = start.takeover
        adopt = (takeover.adopt if takeover is not None else None) or Channel.pair()
        leadership = _leadership(takeover)
        self._hands = loop.hands = ProcessHands(
            loop,
            self._configuration,
            _template_inputs(start.addresses, self._handoffs, adopt, leadership, app_metrics),
            diagnostics=self._hangs,
            living=living,
            on_unknown_exit=lambda pid, status: self._upgrades.exited(pid, status),  # noqa: PLW0108  # made below
            reuse=self._development,
        )
        self._status = self._make_status(living)
        self._notifier = ManagerNotifier(start.duties, loop.plan, start.addresses)
        self._upgrades = self._make_upgrades(adopt, leadership)
        set_log_level = self._hands.children.set_log_level
        self._reloads = Reloads(loop, self._configuration, set_log_level, self._in_the_way_of_a_reload)
        self._commands = Commands(loop, self._hands, self._reloads, self._upgrades, self._status.read)
        self._desk = self._make_desk()
        self._admin = self._make_admin(app_metrics) if start.admin.listeners else None
        self._connect()

    # its parts

    def _make_status(self, living: Mapping[int, ChildHandle]) -> StatusReader:
        return StatusReader(
            self._loop.plan,
            self._begun.addresses.listeners,
            living,
            self._reports.totals,
            self._reports.timeline,
            template_pids=self._hands.templates.pids,
            log_level=lambda: self._configuration.config.log_level,
        )

    def _make_upgrades(self, adopt: tuple[Channel, Channel], leadership: int) -> Upgrades:
        begun = self._begun
        ours = HandedOver(
            begun.addresses,
            begun.operator_socket,
            adopt,
            leadership,
            self._notifier,
            self._hands.children.patterns_known,
            self._hands.templates.own_files,
        )
        keeper = begun.takeover.keeper if begun.takeover is not None else None
        development = self._development is not None
        return Upgrades(self._loop, ours, begun.launch, keeper, development=development)

    def _make_desk(self) -> OperatorDesk:
        return OperatorDesk(
            self._loop,
            operations=self._reports.operations,
            reloads=self._reloads,
            upgrades=self._upgrades,
            children=self._hands.children,
            read_status=self._status.read,
        )

    def _make_admin(self, app_metrics: "AppMetrics | None") -> "Admin":
        from hsrv.supervisor.admin.metrics.metrics import Server  # noqa: PLC0415  # imports prometheus-client
        from hsrv.supervisor.admin.site import Admin  # noqa: PLC0415  # imports h11

        server = Server(self._loop.plan, self._hands.children.living, self._status, self._reports.totals)
        return Admin(self._configuration.config, self._begun.admin, server, self._desk, app_metrics)

    def _connect(self) -> None:
        """Connect the parts to each other."""
        stream, begun = self._reports.stream, self._begun
        self._loop.on_change = self._status.forget
        self._hands.templates.on_ready = self._template_ready
        stream.listen(self._serving)
        stream.listen(self._notifier.hear)
        if self._admin is not None:
            stream.listen(self._admin.hear)
        if begun.observer is not None:
            stream.listen(begun.observer.hear)
        if self._development is not None:
            self._hands.children.on_modules = self._development.imported
        if begun.takeover is not None:
            state = begun.takeover.state
            begun.takeover.restore(self._loop.plan, self._reports.operations.open(state.operation))
            self._hands.children.learn(list(state.learned))

    async def run(self) -> ExitCode:
        """Start everything; return when everything has ended."""
        loop, takeover = self._loop, self._begun.takeover
        async with anyio.create_task_group() as tasks:
            loop.tasks = self._status.tasks = tasks
            await tasks.start(self._commands.handle_signals)
            self._start_tasks()
            operation = takeover.state.operation if takeover is not None else ""
            loop.perform(loop.plan.start(loop.now(), operation))
            code = await loop.run()
            await self._upgrades.end()
            if self._upgrades.stays:
                hold_signals()
                # signals that came before are forwarded from here, the others by the keeper
                await anyio.sleep(SIGNALS_SETTLE)
            if takeover is not None:
                await takeover.end(loop.plan.settings.stop_budgets)
            # our handlers are about to go, and the default actions would end the process before it has cleaned up
            blockedsignals.block()
            tasks.cancel_scope.cancel()
        await self._end()
        return code

    def _start_tasks(self) -> None:
        """Start the tasks that run as long as the server."""
        loop, begun = self._loop, self._begun
        start = loop.tasks.start_soon
        start(self._commands.watch_terminal)
        start(self._hangs.run)
        start(self._handoffs.run)
        start(NoWorkerResponder(begun.addresses.listeners, loop.plan.lacks_acceptor, self._queue_timeout).run)
        start(self._notifier.run, lambda: loop.changed)
        start(self._upgrades.heed_keeper)
        if self._admin is not None:
            start(self._admin.serve)
        if begun.takeover is not None:
            start(begun.takeover.run, loop, begun.addresses, self._take_over)
        elif begun.operator_socket is not None:
            start(begun.operator_socket.serve, self._desk)
        if self._development is not None:
            start(self._development.watch)

    async def _end(self) -> None:
        close_listeners(self._begun.addresses.listeners)
        self._notifier.close()
        self._upgrades.close()
        if self._begun.takeover is not None:
            self._begun.takeover.close()
        await self._hands.end(blockedsignals.stop_is_pending)
        if self._admin is not None:
            self._admin.close()

    # calls from one part to another

    @property
    def terminal(self) -> Terminal:
        return self._commands.terminal

    @property
    def replacement(self) -> ReplacementServer | None:
        """The server that has replaced this one and needs this process to stay as its keeper."""
        return self._upgrades.replacement if self._upgrades.stays else None

    def _take_over(self, duties: ManagerDuties) -> None:
        """The old server has given up files, operators and the service manager: they are ours."""
        operator_socket = self._begun.operator_socket
        if operator_socket is not None:
            operator_socket.own()
            self._loop.tasks.start_soon(operator_socket.serve, self._desk)
        self._hands.templates.own_files()
        self._notifier.become_main(duties)
        self._loop.wake()  # the notifier slept: until now it had no manager
        self._upgrades.announce()

    def _queue_timeout(self) -> float:
        return self._configuration.config.queue_timeout

    def _code_changed(self) -> None:
        self._reloads.begin(self._reloads.next_id())

    def _in_the_way_of_a_reload(self) -> str:
        return "an upgrade is under way" if self._upgrades.in_progress else ""

    def _template_ready(self, message: TemplateReady) -> None:
        self._begun.banner.template_ready(message)
        self._status.app = message.app

    def _serving(self, report: Report) -> None:
        if isinstance(report, ProcessReady):
            self._begun.banner.process_ready(report.identity.role, report.interface)
        elif isinstance(report, StartFailed):
            self._begun.banner.failed(**report.details)
        elif isinstance(report, Announce):
            self._begun.banner.serving(
                self._begun.addresses.listeners,
                report.generation,
                broken=self._loop.plan.generations[report.generation].broken is not None,
                saved=self._development.served() if self._development is not None else None,
            )

    def _serving_number(self) -> int | None:
        serving = self._loop.plan.serving()
        return serving.number if serving is not None else None


def _development(config: Config, on_change: Callable[[], None]) -> "Development":
    from hsrv.supervisor.develop.development import Development  # noqa: PLC0415  # imports watchfiles and pathspec

    return Development(config, on_change)


def _app_metrics(config: Config) -> "AppMetrics | None":
    from hsrv.supervisor.admin.site import app_metrics_of  # noqa: PLC0415  # imports h11 and prometheus-client

    return app_metrics_of(config)


def _template_inputs(
    addresses: Addresses,
    handoffs: Handoffs,
    adopt: tuple[Channel, Channel],
    leadership: int,
    app_metrics: "AppMetrics | None",
) -> TemplateInputs:
    folder = str(app_metrics.folder) if app_metrics is not None else ""
    environ = {metricsdir.VARIABLE: folder} if folder else {}
    return TemplateInputs(addresses, handoffs, adopt, leadership, environ, folder)


def _leadership(takeover: Takeover | None) -> int:
    """Descriptor of the file of `hsrv.child.leadership`: inherited from the old server, or a new one."""
    inherited = takeover.leadership if takeover is not None else -1
    return inherited if inherited >= 0 else anonymous_file("hsrv-leadership")


def _plan_of(config: Config, development: "Development | None") -> Plan:
    settings = settings_of(config)
    if development is not None:
        settings = development.settings(settings)
    return Plan(settings, development=development is not None)
