"""The supervisor's loop: events in, `Plan` decides, actions out.

Owns the listening sockets, the channels between the other processes and their pids. Promises: no event waits for
another's action; a process is signalled only while it can't have been reaped; nothing is left behind. Must never import
the application.
"""

import math
import os
import signal
import time
from collections.abc import Iterable
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from hsrv.channel import Channel
from hsrv.config import Config
from hsrv.errors import ExitCode
from hsrv.globs import LearnedPaths
from hsrv.logging import get_logger
from hsrv.messages import Exited, Forked, FromTemplate, PreloadUnsafe, TemplateFailed, TemplateReady
from hsrv.rpc import methods
from hsrv.supervisor import plan
from hsrv.supervisor.banner import Banner
from hsrv.supervisor.children import ChildHandle, death_of
from hsrv.supervisor.listeners import Listener, close_listeners, stop_new_connections
from hsrv.supervisor.plan import Action, Budgets, Plan
from hsrv.supervisor.signals import COMMANDS, Command, handled
from hsrv.supervisor.templates import TemplateHandle
from hsrv.terms import Identity

STATUS_TIMEOUT: Final = 5.0
"""Seconds between the end of a control channel and the exit status. A process that ended the one and not the other is killed."""

TEMPLATE_EXIT_TIMEOUT: Final = 2.0
"""Seconds for templates to exit at the end."""

log = get_logger("hsrv.supervisor")


class Supervisor:
    """All processes of one server."""

    def __init__(self, config: Config, listeners: list[Listener], banner: Banner) -> None:
        self._config = config
        self._listeners = listeners
        self._banner = banner
        self._plan = Plan(
            Budgets(
                startup=config.startup_timeout,
                graceful=config.graceful_timeout,
                stream_grace=config.stream_grace,
                lifespan_shutdown=config.lifespan_shutdown_timeout,
                drain_delay=config.drain_delay,
                handoff=config.handoff_timeout,
            ),
            workers=int(config.workers),
            pools=config.pools,
            preload=config.preload,
        )
        self._adopt = Channel.pair()
        self._handoff: dict[int, tuple[Channel, Channel]] = {}
        self._templates: dict[int, TemplateHandle] = {}
        self._children: dict[int, ChildHandle] = {}
        """By pid."""
        self._forking: dict[int, list[ChildHandle]] = {}
        """By generation, in the order in which the template was asked."""
        self._statuses: dict[int, int] = {}
        """Of children reaped before we knew their pid."""
        self._learned = LearnedPaths()
        self._changed = anyio.Event()
        self._exit: ExitCode | None = None

    async def run(self) -> ExitCode:
        """Start everything, and return when everything has ended."""
        async with anyio.create_task_group() as tasks:
            self._tasks: TaskGroup = tasks
            await tasks.start(self._hear_signals)
            self._perform(self._plan.start())
            await self._keep_time()
            tasks.cancel_scope.cancel()
        await self._end()
        assert self._exit is not None
        return self._exit

    async def _keep_time(self) -> None:
        """Call the plan when something is due, until it says that all is over."""
        while self._exit is None:
            self._changed = anyio.Event()
            seconds = self._plan.next_at() - time.monotonic()
            with anyio.move_on_after(None if seconds == math.inf else max(0.0, seconds)):
                await self._changed.wait()
            self._perform(self._plan.tick(time.monotonic()))

    async def _end(self) -> None:
        for number in list(self._templates):
            self._quit_template(number)
        close_listeners(self._listeners)
        for pair in (self._adopt, *self._handoff.values()):
            for channel in pair:
                channel.close()
        with anyio.move_on_after(TEMPLATE_EXIT_TIMEOUT):
            while any(_alive(template.pid) for template in self._templates.values()):
                await anyio.sleep(0.01)
        for template in self._templates.values():
            if _alive(template.pid):
                os.kill(template.pid, signal.SIGKILL)
            template.close()

    # signals

    async def _hear_signals(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        with anyio.open_signal_receiver(*handled()) as signals:
            task_status.started()
            async for signum in signals:
                self._obey(COMMANDS[signum])

    def _obey(self, command: Command) -> None:
        now = time.monotonic()
        if command is Command.REAP:
            self._reap()
        elif command is Command.STOP:
            self._perform(self._plan.stop(now))
        elif command is Command.STOP_NOW:
            self._perform(self._plan.stop_now("QUIT"))
        elif command is Command.RELOAD:
            self._perform(self._plan.start())
        elif command is Command.REOPEN_LOGS:
            log.info("nothing to reopen", why="logs go to standard error")
        else:
            self._perform(self._plan.scale(1 if command is Command.MORE else -1, now))

    def _reap(self) -> None:
        """Collect every dead child: templates, children of dead templates, and as PID 1 strangers."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for template in list(self._templates.values()):
                if template.pid == pid:
                    self._template_gone(template, death_of(status))
            self._exited(pid, status)

    # templates

    async def _hear_template(self, template: TemplateHandle) -> None:
        """Until its channel ends. Its exit status comes with SIGCHLD; without one it counts as gone all the same."""
        await template.run(self._on_template_message)
        await anyio.sleep(STATUS_TIMEOUT)
        self._template_gone(template, death_of(None))

    def _template_gone(self, template: TemplateHandle, reason: str) -> None:
        if self._templates.get(template.generation) is template:
            del self._templates[template.generation]
            template.close()
            now = time.monotonic()
            for child in self._forking.pop(template.generation, []):
                child.gone = True
                self._perform(self._plan.child_exited(child.identity, "was not forked", now))
            self._perform(self._plan.template_gone(template.generation, reason, now))

    def _on_template_message(self, template: TemplateHandle, message: FromTemplate) -> None:
        now = time.monotonic()
        number = template.generation
        if isinstance(message, Forked):
            self._forked(number, message)
        elif isinstance(message, Exited):
            self._exited(message.pid, message.status)
        elif isinstance(message, TemplateReady):
            self._banner.template_ready(message)
            self._perform(self._plan.template_ready(number, now))
        elif isinstance(message, PreloadUnsafe):
            del self._templates[number]
            self._perform(self._plan.template_unsafe(number, message.reason))
        elif isinstance(message, TemplateFailed):
            del self._templates[number]
            self._perform(self._plan.template_failed(number, message.message, message.traceback, now))

    # children

    def _forked(self, number: int, message: Forked) -> None:
        child = self._forking[number].pop(0)
        child.pid = message.pid
        if message.pid:
            self._children[message.pid] = child
        self._perform(self._plan.child_forked(child.identity, message.error, time.monotonic()))
        if message.pid in self._statuses:
            self._exited(message.pid, self._statuses.pop(message.pid))

    async def _hear_child(self, child: ChildHandle) -> None:
        await child.run(self._on_ready, self._on_failed, self._on_learned)
        with anyio.move_on_after(STATUS_TIMEOUT):
            await child.reaped.wait()
        if not child.gone:
            log.warning("process lost", process=child.identity.name, child=child.pid)
            child.kill()
            self._died(child, None)

    def _on_ready(self, child: ChildHandle, params: methods.ReadyParams) -> None:
        self._perform(self._plan.child_ready(child.identity, time.monotonic()))

    def _on_failed(self, child: ChildHandle, params: methods.FailedParams) -> None:
        self._perform(
            self._plan.child_failed(
                child.identity, params.stage, params.message, params.traceback, time.monotonic()
            )
        )

    def _on_learned(self, child: ChildHandle, params: methods.LearnedParams) -> None:
        new = [pattern for pattern in params.patterns if pattern not in self._learned]
        self._learned.add(new)
        if new:
            for other in self._children.values():
                if other is not child:
                    other.tell(self._tasks, methods.LEARNED, methods.LearnedParams(patterns=new))

    def _exited(self, pid: int, status: int) -> None:
        child = self._children.get(pid)
        if child is not None:
            self._died(child, status)
        elif any(self._forking.values()) and len(self._statuses) < 1024:
            self._statuses[pid] = status

    def _died(self, child: ChildHandle, status: int | None) -> None:
        if child.gone:
            return
        child.gone = True
        child.reaped.set()
        self._children.pop(child.pid, None)
        reason = death_of(status) if child.killed_because is None else f"was killed: {child.killed_because}"
        log.debug("reaped", process=child.identity.name, child=child.pid, reason=reason)
        self._perform(self._plan.child_exited(child.identity, reason, time.monotonic(), pid=child.pid))

    # actions

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self._act(action)
        self._changed.set()

    def _act(self, action: Action) -> None:
        if isinstance(action, plan.Say):
            getattr(log, action.level)(action.event, **action.details)
        elif isinstance(action, plan.Exit):
            self._exit = action.code
        elif isinstance(action, plan.SpawnTemplate):
            self._spawn(action)
        elif isinstance(action, plan.QuitTemplate):
            self._quit_template(action.generation)
        elif isinstance(action, plan.ForkChild):
            self._fork(action.identity)
        elif isinstance(action, plan.StopListening):
            stop_new_connections(self._listeners)
        elif isinstance(action, plan.Announce):
            self._banner.serving(self._listeners, action.generation)
        elif isinstance(action, plan.PoolAvailable):
            self._tell_workers(action)
        else:
            self._act_on_child(action)

    def _act_on_child(
        self, action: plan.Serve | plan.AnnounceClose | plan.Drain | plan.Finish | plan.Dismiss | plan.Kill
    ) -> None:
        child = self._handle(action.identity)
        if child is None:
            return
        if isinstance(action, plan.Serve):
            child.command(self._tasks, methods.SERVE)
            if self._patterns_known():
                child.tell(self._tasks, methods.LEARNED, methods.LearnedParams(patterns=self._patterns_known()))
        elif isinstance(action, plan.AnnounceClose):
            child.command(self._tasks, methods.ANNOUNCE_CLOSE)
        elif isinstance(action, plan.Drain):
            drain = methods.DrainParams(
                graceful_timeout=self._config.graceful_timeout,
                stream_grace=self._config.stream_grace,
                adopt=action.adopt,
            )
            child.command(self._tasks, methods.DRAIN, drain)
        elif isinstance(action, plan.Finish):
            child.command(self._tasks, methods.FINISH)
        elif isinstance(action, plan.Dismiss):
            child.dismiss()
        else:
            child.killed_because = action.why
            log.warning("killing", process=child.identity.name, child=child.pid, why=action.why)
            child.kill()

    def _patterns_known(self) -> list[str]:
        return list(self._learned.globs.patterns)

    def _handle(self, identity: Identity) -> ChildHandle | None:
        everyone = [*self._children.values(), *(c for queue in self._forking.values() for c in queue)]
        return next((child for child in everyone if child.identity is identity), None)

    def _spawn(self, action: plan.SpawnTemplate) -> None:
        number = action.generation
        handoff = self._handoff.setdefault(number, Channel.pair())
        template = self._templates[number] = TemplateHandle(number)
        template.boot(self._config, action.preload, (*handoff, *self._adopt), self._listeners)
        self._tasks.start_soon(self._hear_template, template)

    def _quit_template(self, number: int) -> None:
        template = self._templates.get(number)
        if template is not None and not template.told_to_quit:
            template.quit()
        for channel in self._handoff.pop(number, ()):
            channel.close()

    def _fork(self, identity: Identity) -> None:
        child = ChildHandle(identity)
        self._forking.setdefault(identity.generation, []).append(child)
        self._tasks.start_soon(self._hear_child, child)
        self._templates[identity.generation].fork(child)

    def _tell_workers(self, action: plan.PoolAvailable) -> None:
        log.warning("pool available" if action.available else "pool unavailable", generation=action.generation)
        for child in self._children.values():
            if child.identity.generation == action.generation:
                child.tell(
                    self._tasks,
                    methods.POOL_AVAILABLE,
                    methods.PoolAvailableParams(available=action.available),
                )


def _alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
