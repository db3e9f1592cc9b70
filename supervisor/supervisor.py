"""The supervisor's loop: events in, `Plan` decides, actions out.

Owns the listening sockets, the channels between the other processes and their pids. Promises: no event
waits for another's action; no process is signalled once its end is known; nothing is left behind. Must
never import the application.
"""

import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import msgspec
from anyio.abc import TaskGroup
from structlog.contextvars import bound_contextvars, clear_contextvars

from hsrv.board import census
from hsrv.common.errors import ExitCode, HsrvError, OperatorError
from hsrv.common.globs import LearnedPaths
from hsrv.common.terms import DeathReason, Identity, Role
from hsrv.ipc.anonfile import anonymous_file
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import Exited, Forked, FromTemplate, PreloadUnsafe, TemplateFailed, TemplateReady
from hsrv.logs.logging import get_logger, set_level
from hsrv.options.config import Config
from hsrv.rpc import methods
from hsrv.supervisor.admin.http.address import NO_ADMIN, AdminAddress
from hsrv.supervisor.health.healing import Healer
from hsrv.supervisor.health.upkeep import resident_memory
from hsrv.supervisor.operators.operations import Operations, new_id
from hsrv.supervisor.operators.operator import OperatorDesk, OperatorSocket
from hsrv.supervisor.plan import actions
from hsrv.supervisor.plan.actions import Action, ChildAction
from hsrv.supervisor.plan.capacity import scale
from hsrv.supervisor.plan.plan import Phase, Plan
from hsrv.supervisor.plan.settings import budgets_of, changed_config
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.processes.templates import TemplateHandle
from hsrv.supervisor.reports.banner import Banner
from hsrv.supervisor.reports.notify import Herald
from hsrv.supervisor.reports.status import StatusReader
from hsrv.supervisor.reports.tally import Tally
from hsrv.supervisor.reports.timeline import Timeline
from hsrv.supervisor.runtime.launch import Launch
from hsrv.supervisor.runtime.signals import COMMANDS, Command, handled
from hsrv.supervisor.runtime.terminal import LOOK_INTERVAL, Terminal, repeat_interrupt
from hsrv.supervisor.sockets.handoffs import Handoffs
from hsrv.supervisor.sockets.listeners import (
    Listener,
    close_listeners,
    refuse_connections,
    stop_new_connections,
)
from hsrv.supervisor.sockets.unserved import Unserved
from hsrv.supervisor.succession.estate import Office
from hsrv.supervisor.succession.keeper import Heir, hold_signals
from hsrv.supervisor.succession.succession import Succession
from hsrv.supervisor.succession.upgrade import Upgrades
from hsrv.system import held
from hsrv.system.cgroupmemory import MemoryGroup

if TYPE_CHECKING:
    from hsrv.supervisor.admin.site import Admin
    from hsrv.supervisor.develop.development import Development

TEMPLATE_EXIT_TIMEOUT: Final = 2.0
"""Seconds for a template to exit: one that is told to, and one that closed its channel."""

REAP_INTERVAL: Final = 0.01
"""Seconds between looks at the last templates, when signals are not heard any more."""

LATE: Final = (DeathReason.STARTUP_TIMEOUT, DeathReason.DRAIN_TIMEOUT)
"""Reasons for a kill of which nobody would know what the process was doing: its stacks are logged before."""

SIGNALS_SETTLE: Final = 0.05
"""Seconds for a signal to find its way from the interpreter through the event loop."""

log = get_logger("hsrv.supervisor")


class Supervisor:
    """All processes of one server."""

    _acting = False
    """`perform` is on the stack."""
    _exit: ExitCode | None = None

    def __init__(
        self,
        config: Config,
        listeners: list[Listener],
        banner: Banner,
        door: OperatorSocket | None,
        reread: Callable[[], Config] | None = None,
        *,
        launch: Launch | None = None,
        office: Office | None = None,
        succession: Succession | None = None,
        instead_of_binds: tuple[str, ...] = (),
        admin: AdminAddress = NO_ADMIN,
    ) -> None:
        """`door`: where operators come in; None when there is no such place. `reread`: the configuration as it is now,
        for a reload; raises HsrvError. `launch`: how to start the next version of us. `office`: with the service
        manager; `succession`: from the server that we take over from, with its office. `instead_of_binds`: names of
        the sockets that replaced --bind. `admin`: where probes and scrapes come in."""
        self._reread = reread
        self.config = config
        self.listeners = listeners
        self.beside = list(admin.listeners)
        """Listening sockets that are no workers' business and pass to the next server too. Whoever opened them
        closes them."""
        self._banner = banner
        self._development = _development(config, self._code_changed) if config.reload else None
        self.plan = _plan_of(config, self._development)
        self.operations = Operations()
        self.door = door
        self._todo: deque[Action] = deque()
        self._succession = succession
        self.adopt = (succession.adopt if succession is not None else None) or Channel.pair()
        self._tables: tuple[int, ...] = (_leadership(succession),)
        """What all children share: the file of the leadership, and the census once a limit needs it."""
        self._handoffs = Handoffs(self._serving_number, lambda: self.config.handoff_timeout)
        self._templates: dict[int, TemplateHandle] = {}
        """By pid: all that have not been reaped."""
        self._current: dict[int, TemplateHandle] = {}
        """By generation: those that may still be asked to fork."""
        self.children: dict[int, ChildHandle] = {}
        """By pid: all whose end is not known."""
        self._forking: dict[int, list[ChildHandle]] = {}
        """By generation, in the order in which the template was asked."""
        self._healer = Healer(self, MemoryGroup())
        self.tally = Tally()
        self.timeline = Timeline()
        self.status = StatusReader(self.plan, listeners, self.children, self.tally, self.timeline)
        self.status.log_level = config.log_level
        self._learned = LearnedPaths()
        self.changed = anyio.Event()
        self.instead_of_binds = instead_of_binds
        self.herald = Herald(office or Office(), self.plan, (listeners, self.beside))
        self.upgrades = Upgrades(self, launch or Launch.here(), succession.link if succession else None)
        self._reloads: set[str] = set()
        """The ids of those that are not over."""
        self._admin = _admin(self, admin) if admin.listeners else None
        if succession is not None:
            succession.furnish(self)

    async def run(self) -> ExitCode:
        """Start everything, and return when everything has ended."""
        async with anyio.create_task_group() as tasks:
            self.tasks: TaskGroup = tasks
            self.terminal = Terminal()
            self.status.tasks = tasks
            await tasks.start(self._hear_signals)
            tasks.start_soon(self._watch_terminal)
            tasks.start_soon(self._healer.run)
            tasks.start_soon(self._handoffs.run)
            tasks.start_soon(self._answer_unserved)
            tasks.start_soon(self.herald.run, lambda: self.changed)
            tasks.start_soon(self.upgrades.heed_keeper)
            if self._admin is not None:
                tasks.start_soon(self._admin.serve)
            upgrade_id = ""
            if self._succession is not None:
                upgrade_id = self._succession.estate.upgrade_id
                tasks.start_soon(self._succession.run, self)
            elif self.door is not None:
                tasks.start_soon(self.door.serve, OperatorDesk(self))
            if self._development is not None:
                tasks.start_soon(self._development.watch)
            self.perform(self.plan.start(time.monotonic(), upgrade_id))
            await self._keep_time()
            await self.upgrades.end()
            if self.upgrades.stays:
                hold_signals()
                await anyio.sleep(
                    SIGNALS_SETTLE
                )  # what came before is passed on from here, the rest by the keeper
            if self._succession is not None:
                await self._succession.end(self.plan.stop_budgets)
            held.hold()  # who listens is about to leave, and their defaults would end us before all is tidy
            tasks.cancel_scope.cancel()
        await self._end()
        assert self._exit is not None
        return self._exit

    async def _answer_unserved(self) -> None:
        await Unserved(self.listeners, self.plan.lacks_worker, lambda: self.config.queue_timeout).run()

    async def _keep_time(self) -> None:
        """Call the plan when something is due, until it says that all is over."""
        while self._exit is None:
            self.changed = anyio.Event()
            seconds = self.plan.next_at() - time.monotonic()
            with anyio.move_on_after(None if seconds == math.inf else max(0.0, seconds)):
                await self.changed.wait()
            self.perform(self.plan.tick(time.monotonic()))

    async def _end(self) -> None:
        close_listeners(self.listeners)
        self.herald.close()
        self.upgrades.close()
        if self._succession is not None:
            self._succession.close()
        self._handoffs.close_all()
        for channel in self.adopt:
            channel.close()
        for table in self._tables:
            os.close(table)
        for template in await self._templates_left(hurry=held.stop_waits):
            os.kill(template.pid, signal.SIGKILL)
        await self._templates_left()
        if self._admin is not None:
            self._admin.close()

    async def _templates_left(self, hurry: Callable[[], bool] = lambda: False) -> list[TemplateHandle]:
        """Give them time to exit, unless there is a hurry; those that did not. Nobody hears SIGCHLD any more."""
        left = list(self._templates.values())
        with anyio.move_on_after(TEMPLATE_EXIT_TIMEOUT):
            while (left := [one for one in left if _alive(one.pid)]) and not hurry():  # noqa: ASYNC110  # as just said
                await anyio.sleep(REAP_INTERVAL)
        return left

    # signals

    async def _hear_signals(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        with anyio.open_signal_receiver(*handled()) as signals:
            held.let_through()
            task_status.started()
            async for signum in signals:
                if not self.upgrades.obey(signum):
                    self._obey(COMMANDS[signum])
                if signum == signal.SIGINT and self.terminal.matters:
                    self.tasks.start_soon(repeat_interrupt, lambda: self.children)

    def _obey(self, command: Command) -> None:
        now = time.monotonic()
        if command is Command.REAP:
            self._reap()
        elif command is Command.STOP:
            self.perform(self.plan.stop(now))
        elif command is Command.STOP_NOW:
            self.perform(self.plan.stop_now("QUIT", now))
        elif command is Command.RELOAD and self.terminal.has_gone():
            self._hang_up(now)
        elif command is Command.RELOAD:
            self.reload(self.next_reload_id())
        elif command is Command.UPGRADE:
            self.upgrades.begin(new_id())
        elif command is Command.REOPEN_LOGS:
            log.info("nothing to reopen", why="logs go to standard error")
        else:
            workers = self.plan.workers + (1 if command is Command.MORE else -1)
            self.perform(scale(self.plan, workers, now))

    def _hang_up(self, now: float) -> None:
        """A closed terminal may send HUP twice, itself and by its shell: not the second one of two stops."""
        if self.plan.phase is Phase.RUNNING:
            log.info("terminal closed")
            self.perform(self.plan.stop(now))

    async def _watch_terminal(self) -> None:
        while self.terminal.matters:
            self.terminal.look()
            await anyio.sleep(LOOK_INTERVAL)

    # for operators

    def next_reload_id(self) -> str:
        """Of the reload that a request for one starts or joins: what waits already is early enough for all."""
        return self.plan.queued_reload or new_id()

    def reload(self, reload_id: str) -> None:
        """Start the next generation, or queue it, with the configuration as it is now."""
        self.herald.reloading()
        self._reloads.add(reload_id)
        with _story(reload_id):
            try:
                if self.upgrades.in_progress:
                    raise OperatorError("an upgrade is under way")
                self._read_config()
            except HsrvError as error:
                log.error("reload failed, the running code goes on", error=str(error))
                self.herald.look()
                self._end_operation(reload_id, str(error), "")
                return
            self.perform(self.plan.start(time.monotonic(), reload_id))

    def _read_config(self) -> None:
        """Raises HsrvError, and then nothing has changed."""
        if self._reread is None:
            return
        config, unchanged = changed_config(self.config, self._reread())
        for name in unchanged:
            log.warning("not changed by a reload", option=name, hint="restart the server")
        before, self.config = self.config, config
        if self._development is None:
            self.plan.budgets = self.plan.stop_budgets = budgets_of(config)
            self.plan.preload = config.preload
        self.plan.pools = config.pools
        self.plan.max_draining = config.max_draining
        self.plan.leader_first = config.leader_first
        if config.workers != before.workers:
            self.perform(scale(self.plan, int(config.workers), time.monotonic()))
        if config.log_level != before.log_level:
            self.set_log_level(config.log_level)

    # the server before us, and the one after

    @property
    def leadership(self) -> int:
        """Descriptor of the file by which one process at a time leads, of the server before us and after us too."""
        return self._tables[0]

    @property
    def heir(self) -> Heir | None:
        """Who goes on with the server, and needs us to stay as its keeper."""
        return self.upgrades.heir if self.upgrades.stays else None

    def own_files(self) -> None:
        """Tell the templates which socket files end with us."""
        files = [listener.info for listener in (*self.listeners, *self.beside)]
        files += [self.door.info] if self.door is not None else []
        for template in self._templates.values():
            template.own(tuple(files))

    def take_over(self, office: Office) -> None:
        """The old server has let go: files, operators and the service manager are ours."""
        if self.door is not None:
            self.door.own()
            self.tasks.start_soon(self.door.serve, OperatorDesk(self))
        self.own_files()
        self.herald.take_office(office)
        self.changed.set()  # the herald slept, as there was nobody to tell
        self.upgrades.announce()

    def _code_changed(self) -> None:
        self.reload(self.next_reload_id())

    def set_log_level(self, level: Literal["debug", "info", "warning", "error"]) -> None:
        """In every process, also in those that come."""
        set_level(level)
        self.config = msgspec.structs.replace(self.config, log_level=level)
        self.status.log_level = level
        for child in self.children.values():
            child.command(self.tasks, methods.LOG_LEVEL, methods.LogLevelParams(level=level))

    def _reap(self) -> None:
        """Collect every dead child: templates, children of dead templates, and as PID 1 strangers.

        Templates first: what one said last may be that it forked one of the others.
        """
        dead = dict(_reap_all())
        for pid in dead.keys() & self._templates.keys():
            self._template_exited(self._templates.pop(pid), dead.pop(pid))
        for pid, status in dead.items():
            self._exited(pid, status)

    # templates

    async def _hear_template(self, template: TemplateHandle) -> None:
        """Until its channel ends. Its exit status comes with SIGCHLD; without the channel it is of no use."""
        clear_contextvars()
        try:
            await template.run(self._on_template_message)
            await anyio.sleep(TEMPLATE_EXIT_TIMEOUT)
            self._kill_template(template, "it closed its channel")
        finally:
            template.close()

    def _template_exited(self, template: TemplateHandle, status: int) -> None:
        """One that is not in use any more was told to quit, or killed by us."""
        in_use = self._current.get(template.generation) is template
        death = self._healer.coroner.examine(status if in_use else None, time.monotonic())[1]
        self._lose_template(template, death)

    def _kill_template(self, template: TemplateHandle, why: str) -> None:
        if template.pid in self._templates:
            log.warning(
                "killing", process="template", generation=template.generation, child=template.pid, why=why
            )
            os.kill(template.pid, signal.SIGKILL)
            self._lose_template(template, f"was killed: {why}")

    def _lose_template(self, template: TemplateHandle, death: str) -> None:
        """No template any more. What it was asked to fork and didn't confirm is told to go, if it exists."""
        template.hear(self._on_template_message)
        if self._current.get(template.generation) is not template:
            return
        del self._current[template.generation]
        # In development it may owe children also to generations that were given up.
        numbers = list(self._forking) if self._development is not None else [template.generation]
        for child in [child for number in numbers for child in self._forking.pop(number, [])]:
            child.dismiss()
            child.ended(DeathReason.NOT_FORKED, "was not forked")
        self.perform(self.plan.template_gone(template.generation, death, time.monotonic()))

    def _on_template_message(self, template: TemplateHandle, message: FromTemplate) -> None:
        with self._story_of(template.generation):
            self._take_template_message(template, message)

    def _take_template_message(self, template: TemplateHandle, message: FromTemplate) -> None:
        number, now = template.generation, time.monotonic()
        if isinstance(message, Exited):
            self._exited(message.pid, message.status)
        elif isinstance(message, Forked):
            self._forked(message)
        elif self._current.get(number) is not template:
            log.debug("late message of a template", generation=number, message=type(message).__name__)
        elif isinstance(message, TemplateReady):
            template.is_ready = True
            self._banner.template_ready(message)
            self.status.app = message.app
            self.perform(self.plan.template_ready(number, now))
        elif isinstance(message, PreloadUnsafe):
            del self._current[number]
            self.perform(self.plan.template_unsafe(number, message.reason, now))
        elif isinstance(message, TemplateFailed):
            del self._current[number]
            self.perform(self.plan.template_failed(number, message.message, message.traceback, now))

    # children

    def _forked(self, message: Forked) -> None:
        waiting = self._forking.get(message.identity.generation)
        if not waiting:
            log.debug("late message of a template", message="Forked", child=message.pid)
            return
        child = waiting.pop(0)
        if message.error:
            child.ended(DeathReason.NOT_FORKED, f"could not be forked: {message.error}")
            return
        child.forked(message.pid)
        self.children[message.pid] = child
        self.plan.child_forked(child.identity)

    async def _hear_child(self, child: ChildHandle) -> None:
        """Until its end, and all that it said before."""
        clear_contextvars()  # of what it was forked for: the rest of its life is another story
        await child.run(self._on_ready, self._on_failed, self._on_learned, self._on_recycle)
        if not child.gone.is_set():
            self.plan.child_silent(child.identity, time.monotonic())
            self.changed.set()
            await child.gone.wait()
        log.debug("reaped", process=child.identity.name, child=child.pid, reason=child.death)
        self._healer.tell_crash(child)
        self._count_end(child)
        child.close()
        with self._story_of(child.identity.generation):
            self.perform(self.plan.child_exited(child.identity, child.death, time.monotonic(), pid=child.pid))

    def _count_end(self, child: ChildHandle) -> None:
        self._keep_totals(child)
        known = self.plan.find(child.identity)
        if child.reason is not DeathReason.EXIT or known is None or not known.is_expected_to_end:
            self.tally.deaths[child.identity.role, child.reason] += 1

    def _on_ready(self, child: ChildHandle, params: methods.ReadyParams) -> None:
        if self._development is not None and params.modules:
            self._development.imported(params.modules, child.template_began)
        child.baseline = resident_memory(child.pid)
        self.timeline.note("process ready", process=child.identity.name, child=child.pid)
        with self._story_of(child.identity.generation):
            self.perform(self.plan.child_ready(child.identity, time.monotonic()))

    def _on_failed(self, child: ChildHandle, params: methods.FailedParams) -> None:
        with self._story_of(child.identity.generation):
            self.perform(
                self.plan.child_failed(
                    child.identity, params.stage, params.message, params.traceback, time.monotonic()
                )
            )

    def _on_recycle(self, child: ChildHandle, params: methods.RecycleParams) -> None:
        self.perform(self.plan.recycle(child.identity, params.reason, params.why, time.monotonic()))

    def learned(self, patterns: list[str]) -> list[str]:
        """Note them; those that are new."""
        new = [pattern for pattern in patterns if pattern not in self._learned]
        self._learned.add(new)
        return new

    def _on_learned(self, child: ChildHandle, params: methods.LearnedParams) -> None:
        news = methods.LearnedParams(patterns=self.learned(params.patterns), plain=params.plain)
        if news.patterns or news.plain:
            for other in self.children.values():
                if other is not child:
                    other.tell(self.tasks, methods.LEARNED, news)

    def _exited(self, pid: int, status: int) -> None:
        child = self.children.pop(pid, None)
        if child is not None:
            self._keep_totals(child)  # in the same moment in which it is none of the living any more
            status_told = None if child.was_killed else status
            child.ended(*self._healer.coroner.examine(status_told, time.monotonic()))
        else:
            self.upgrades.exited(pid, status)

    def _keep_totals(self, child: ChildHandle) -> None:
        if not child.counted:
            child.counted = True
            self.tally.gone(child.identity, child.look())
            if self._admin is not None:
                self._admin.process_gone()

    # actions

    def perform(self, wanted: Iterable[Action]) -> None:
        """Act in order. What an action leads to comes after what was decided before."""
        self._todo += wanted
        if not self._acting:
            self._acting = True
            try:
                while self._todo:
                    self._try(self._todo.popleft())
            finally:
                self._acting = False
        self.status.forget()
        self.changed.set()

    def _try(self, action: Action) -> None:
        try:
            self._act(action)
        except Exception:  # a defect of ours; a supervisor that acts no more would be the worse one
            log.exception("action failed", action=type(action).__name__)

    def _act(self, action: Action) -> None:
        if isinstance(action, actions.ForPeople):
            self._tell_people(action)
        elif isinstance(action, actions.Exit):
            self._exit = action.code
        elif isinstance(action, actions.SpawnTemplate):
            self._spawn(action)
        elif isinstance(action, actions.QuitTemplate | actions.KillTemplate):
            self._end_template(action)
        elif isinstance(action, actions.MoveHandoffs):
            self._handoffs.move(action.generation)
        elif isinstance(action, actions.ForkChild):
            self._fork(action)
        elif isinstance(action, actions.StopListening):
            stop_new_connections(self.listeners)
            self.tasks.start_soon(self._refuse_connections)
        elif isinstance(action, actions.Announce):
            self.timeline.note("serving", generation=action.generation)
            self._banner.serving(self.listeners, action.generation)
        elif isinstance(action, actions.PoolAvailable):
            self._tell_workers(action)
        else:
            self._act_on_child(action)

    def _tell_people(self, action: actions.ForPeople) -> None:
        if isinstance(action, actions.Say):
            getattr(log, action.level)(action.event, **action.details)
            self.timeline.note(action.event, action.level, **action.details)
        elif isinstance(action, actions.Recycled):
            self.tally.recycled[action.reason] += 1
        elif isinstance(action, actions.OperationStep):
            self.operations.step(action.operation, action.step)
        else:
            self._end_operation(action.operation, action.error, action.traceback)

    def _end_operation(self, operation: str, error: str, traceback: str) -> None:
        if operation in self._reloads:
            self._reloads.discard(operation)
            self.tally.reloads["failed" if error else "succeeded"] += 1
        self.operations.end(operation, error, traceback)

    async def _refuse_connections(self) -> None:
        """Once every worker has taken what waited in the queue. Bounded by the drain, which ends one that doesn't."""
        for child in list(self.children.values()):
            if child.identity.role is Role.WORKER:
                await child.draining.wait()
        refuse_connections(self.listeners)

    def _act_on_child(self, action: ChildAction) -> None:
        child = self.handle(action.identity)
        if child is None:
            return
        if isinstance(action, actions.BeginStartup):
            child.command(self.tasks, methods.BEGIN_STARTUP)
        elif isinstance(action, actions.Serve):
            child.command(self.tasks, methods.SERVE)
            level = methods.LogLevelParams(level=self.config.log_level)
            child.command(
                self.tasks, methods.LOG_LEVEL, level
            )  # it may have changed since its template began
            if self.patterns_known():
                child.tell(self.tasks, methods.LEARNED, methods.LearnedParams(patterns=self.patterns_known()))
        elif isinstance(action, actions.AnnounceClose):
            child.command(self.tasks, methods.ANNOUNCE_CLOSE)
        elif isinstance(action, actions.Drain):
            drain = methods.DrainParams(
                graceful_timeout=action.graceful, stream_grace=action.stream_grace, adopt=action.adopt
            )
            child.command(self.tasks, methods.DRAIN, drain)
        elif isinstance(action, actions.Finish):
            child.command(self.tasks, methods.FINISH)
        elif isinstance(action, actions.Dismiss):
            child.dismiss()
        else:
            self._kill(child, action)

    def _kill(self, child: ChildHandle, action: actions.Kill) -> None:
        template = self._current.get(child.identity.generation)
        if child.pid and action.reason in LATE:
            self.tasks.start_soon(self._healer.kill_with_stacks, child, action.reason, action.why)
        elif child.pid:
            child.kill(action.reason, action.why)
        elif template is not None:
            self._kill_template(template, f"it did not fork {child.identity.name}")

    def patterns_known(self) -> list[str]:
        return self._learned.patterns

    def handle(self, identity: Identity) -> ChildHandle | None:
        everyone = [*self.children.values(), *(c for queue in self._forking.values() for c in queue)]
        return next((child for child in everyone if child.identity is identity), None)

    def _spawn(self, action: actions.SpawnTemplate) -> None:
        number = action.generation
        try:
            handoff = self._handoffs.pair(number)
            if self._renew_template(number):
                return
            if census.is_needed(self.config) and len(self._tables) == 1:
                self._tables = (self.leadership, census.new_file())
            template = TemplateHandle(number, self._admin.environ if self._admin is not None else {})
        except OSError as error:
            death = f"could not be started: {error}"
            self.perform(self.plan.template_gone(number, death, time.monotonic()))
            return
        self._templates[template.pid] = self._current[number] = template
        self.status.template_pids[number] = template.pid
        files = (
            *((self.door.info,) if self.door is not None else ()),
            *(listener.info for listener in self.beside),
        )
        channels = (*handoff, *self.adopt)
        template.boot(
            self.config,
            action.preload,
            channels,
            self.listeners,
            files=files,
            tables=self._tables,
            metrics_dir=self._admin.metrics_dir if self._admin is not None else "",
        )
        self.tasks.start_soon(self._hear_template, template)

    def _renew_template(self, number: int) -> bool:
        """Development: the template, with all libraries imported, goes on for the next generation. False: there is
        none, or what it has imported is stale."""
        if self._development is None:
            return False
        kept = next((one for one in self._current.values() if one.is_ready), None)
        if kept is None or not self._development.keeps_template():
            for one in list(self._current):
                self._see_off_template(one)
            return False
        del self._current[kept.generation]
        self._current[number] = kept
        self.status.template_pids[number] = kept.pid
        kept.renew(number, self.config, self._handoffs.pair(number))
        self.perform(self.plan.template_ready(number, time.monotonic()))
        return True

    def _see_off_template(self, number: int) -> None:
        template = self._current.pop(number)
        template.quit()
        self.tasks.start_soon(self._see_off, template)

    def _end_template(self, action: actions.QuitTemplate | actions.KillTemplate) -> None:
        template = self._current.get(action.generation)
        if isinstance(action, actions.KillTemplate):
            if template is not None:
                self._kill_template(template, action.why)
            return
        self._handoffs.close(action.generation)
        self.status.template_pids.pop(action.generation, None)
        keeps = self._development is not None and self.plan.phase is Phase.RUNNING
        if template is not None and not keeps:
            self._see_off_template(action.generation)

    def _serving_number(self) -> int | None:
        serving = self.plan.serving()
        return serving.number if serving is not None else None

    async def _see_off(self, template: TemplateHandle) -> None:
        while any(one.template_began == template.began for one in self.children.values()):
            await self.changed.wait()
        await anyio.sleep(TEMPLATE_EXIT_TIMEOUT)
        self._kill_template(template, "it did not quit")

    def _fork(self, action: actions.ForkChild) -> None:
        identity = action.identity
        template = self._current.get(identity.generation)
        try:
            child = ChildHandle(identity, template.config, template.began) if template is not None else None
        except OSError as error:
            log.error("no control channel", process=identity.name, error=str(error))
            child = None
        if template is None or child is None:
            self.perform(self.plan.child_exited(identity, "was not forked", time.monotonic()))
            return
        self._forking.setdefault(identity.generation, []).append(child)
        self.tasks.start_soon(self._hear_child, child)
        generation = self.plan.generations.get(identity.generation)
        broken = generation.broken if generation is not None else None
        template.fork(child, broken, waits=action.waits)

    def _tell_workers(self, action: actions.PoolAvailable) -> None:
        log.warning(
            "pool available" if action.available else "pool unavailable", generation=action.generation
        )
        for child in self.children.values():
            if child.identity.generation == action.generation:
                child.tell(
                    self.tasks,
                    methods.POOL_AVAILABLE,
                    methods.PoolAvailableParams(available=action.available),
                )

    # which reload this is part of

    def _story_of(self, number: int) -> AbstractContextManager[None]:
        """While it lasts, lines and commands carry the id of the reload that this generation is part of."""
        generation = self.plan.generations.get(number)
        return _story(generation.reload_id if generation is not None else "")


def _leadership(succession: Succession | None) -> int:
    inherited = succession.leadership if succession is not None else -1
    return inherited if inherited >= 0 else anonymous_file("hsrv-leadership")


def _development(config: Config, on_change: Callable[[], None]) -> "Development":
    from hsrv.supervisor.develop.development import Development  # noqa: PLC0415  # imports watchfiles and pathspec

    return Development(config, on_change)


def _admin(supervisor: Supervisor, address: AdminAddress) -> "Admin":
    from hsrv.supervisor.admin.site import Admin  # noqa: PLC0415  # imports h11 and prometheus-client

    return Admin(supervisor, address)


def _plan_of(config: Config, development: "Development | None") -> Plan:
    budgets = budgets_of(config)
    return Plan(
        budgets if development is None else development.budgets(budgets),
        workers=int(config.workers),
        pools=config.pools,
        preload=config.preload if development is None else development.preload,
        stop_budgets=None if development is None else development.stop_budgets(budgets),
        max_draining=config.max_draining,
        development=development is not None,
        leader_first=config.leader_first,
    )


@contextmanager
def _story(reload_id: str) -> Iterator[None]:
    with bound_contextvars(**({"reload_id": reload_id} if reload_id else {})):
        yield


def _reap_all() -> Iterable[tuple[int, int]]:
    """Pid and status of every child that has died."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
