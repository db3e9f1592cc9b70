"""All templates of one server: started, asked to fork, and ended.

Promise: a template that is no longer needed ends within TEMPLATE_EXIT_TIMEOUT.
"""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio
from structlog.contextvars import clear_contextvars

from hsrv.board import census
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import Exited, Forked, FromTemplate, PreloadUnsafe, TemplateFailed, TemplateReady
from hsrv.logs.logging import get_logger
from hsrv.supervisor.hands.children import Children
from hsrv.supervisor.health.deaths import DeathExaminer
from hsrv.supervisor.plan.actions import ForkChild, SpawnTemplate
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.processes.templates import TemplateHandle
from hsrv.supervisor.runtime.configuration import Configuration
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.sockets.handoffs import Handoffs

TEMPLATE_EXIT_TIMEOUT: Final = 2.0
"""Seconds for a template to exit, after it was told to or has closed its channel."""

REAP_INTERVAL: Final = 0.01
"""Seconds between checks of the last templates, when signals are no longer handled."""

log = get_logger("hsrv.supervisor")


class Reuse(Protocol):
    """Development: whether a template can be used for the next generation."""

    def keeps_template(self) -> bool: ...


@dataclass(frozen=True)
class TemplateInputs:
    """What every template gets, whatever its generation."""

    addresses: Addresses
    handoffs: Handoffs
    adopt: tuple[Channel, Channel]
    leadership: int
    """Descriptor of the file of `hsrv.child.leadership`, shared with the servers before and after this one."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables beside our own."""
    metrics_dir: str = ""


class Templates:
    """The templates of all generations."""

    def __init__(
        self,
        loop: Loop,
        configuration: Configuration,
        inputs: TemplateInputs,
        children: Children,
        *,
        deaths: DeathExaminer,
        reuse: Reuse | None,
    ) -> None:
        """`reuse`: None except in development."""
        self._loop = loop
        self._configuration = configuration
        self._inputs = inputs
        self._children = children
        self._deaths = deaths
        self._reuse = reuse
        self.living: dict[int, TemplateHandle] = {}
        """By pid: all that have not been reaped."""
        self._current: dict[int, TemplateHandle] = {}
        """By generation: those that can still fork."""
        self.pids: dict[int, int] = {}
        """By generation: of its latest template."""
        self._tables: tuple[int, ...] = (inputs.leadership,)
        """Files shared by all children: that of the leadership, and the census if a limit needs it."""
        self.on_ready: Callable[[TemplateReady], None] = lambda message: None
        """Called when a template has finished its imports."""

    # start

    def spawn(self, action: SpawnTemplate) -> None:
        number, config, inputs = action.generation, self._configuration.config, self._inputs
        try:
            handoff = inputs.handoffs.pair(number)
            if self._renew(number, action.operation):
                return
            if census.is_needed(config) and len(self._tables) == 1:
                self._tables = (inputs.leadership, census.new_file())
            template = TemplateHandle(number, inputs.environ)
        except OSError as error:
            death = f"could not be started: {error}"
            self._loop.perform(self._loop.plan.template_gone(number, death, self._loop.now()))
            return
        self.living[template.pid] = self._current[number] = template
        self.pids[number] = template.pid
        template.boot(
            config,
            action.preload,
            (*handoff, *inputs.adopt),
            inputs.addresses.listeners,
            files=inputs.addresses.files_beside(),
            tables=self._tables,
            metrics_dir=inputs.metrics_dir,
            operation=action.operation,
        )
        self._loop.tasks.start_soon(self._hear, template)

    def _renew(self, number: int, operation: str) -> bool:
        """Development: use the template, which has all libraries imported, for the next generation. False: there is
        none, or its imports are stale."""
        if self._reuse is None:
            return False
        kept = next((one for one in self._current.values() if one.is_ready), None)
        if kept is None or not self._reuse.keeps_template():
            for one in list(self._current):
                self._dismiss(one)
            return False
        del self._current[kept.generation]
        self._current[number] = kept
        self.pids[number] = kept.pid
        kept.renew(number, self._configuration.config, self._inputs.handoffs.pair(number), operation)
        self._loop.perform(self._loop.plan.template_ready(number, self._loop.now()))
        return True

    def fork(self, action: ForkChild) -> None:
        identity = action.identity
        template = self._current.get(identity.generation)
        try:
            child = ChildHandle(identity, template.config, template.began) if template is not None else None
        except OSError as error:
            log.error("no control channel", process=identity.name, error=str(error))
            child = None
        if template is None or child is None:
            self._loop.perform(self._loop.plan.child_exited(identity, "was not forked", self._loop.now()))
            return
        self._children.began(child)
        template.fork(child, action.broken, action.operation, waits=action.waits)

    def own_files(self) -> None:
        """Tell them which socket files to remove when the supervisor dies."""
        for template in self.living.values():
            template.own(self._inputs.addresses.files())

    # messages

    async def _hear(self, template: TemplateHandle) -> None:
        """Until its channel ends. Its exit status comes with SIGCHLD; without a channel it is useless."""
        clear_contextvars()
        try:
            await template.run(self._on_message)
            await anyio.sleep(TEMPLATE_EXIT_TIMEOUT)
            self._kill(template, "it closed its channel")
        finally:
            template.close()

    def _on_message(self, template: TemplateHandle, message: FromTemplate) -> None:
        number, now, plan = template.generation, self._loop.now(), self._loop.plan
        if isinstance(message, Exited):
            self._children.exited(message.pid, message.status)
        elif isinstance(message, Forked):
            self._children.forked(message.identity, message.pid, message.error)
        elif self._current.get(number) is not template:
            log.debug("late message of a template", generation=number, message=type(message).__name__)
        elif isinstance(message, TemplateReady):
            template.is_ready = True
            self.on_ready(message)
            self._loop.perform(plan.template_ready(number, now))
        elif isinstance(message, PreloadUnsafe):
            del self._current[number]
            self._loop.perform(plan.template_unsafe(number, message.reason, now))
        elif isinstance(message, TemplateFailed):
            del self._current[number]
            self._loop.perform(plan.template_failed(number, message.message, message.traceback, now))

    # end

    def quit(self, number: int, *, stays: bool) -> None:
        """The generation is gone. `stays`: the next one uses its template."""
        self._inputs.handoffs.close(number)
        self.pids.pop(number, None)
        if number in self._current and not stays:
            self._dismiss(number)

    def _dismiss(self, number: int) -> None:
        template = self._current.pop(number)
        template.quit()
        self._loop.tasks.start_soon(self._await_exit, template)

    async def _await_exit(self, template: TemplateHandle) -> None:
        while any(one.template_began == template.began for one in self._children.living.values()):
            await self._loop.changed.wait()
        await anyio.sleep(TEMPLATE_EXIT_TIMEOUT)
        self._kill(template, "it did not quit")

    def kill(self, number: int, why: str) -> None:
        """Kill the template of a generation, if it has one."""
        template = self._current.get(number)
        if template is not None:
            self._kill(template, why)

    def _kill(self, template: TemplateHandle, why: str) -> None:
        if template.pid in self.living:
            log.warning(
                "killing", process="template", generation=template.generation, child=template.pid, why=why
            )
            os.kill(template.pid, signal.SIGKILL)
            self._lose(template, f"was killed: {why}")

    def exited(self, pid: int, status: int) -> None:
        """A template has ended. One that is no longer in use was told to quit, or killed by us."""
        template = self.living.pop(pid)
        in_use = self._current.get(template.generation) is template
        death = self._deaths.examine(status if in_use else None, self._loop.now())[1]
        self._lose(template, death)

    def _lose(self, template: TemplateHandle, death: str) -> None:
        """It can't fork any more. Processes that it has not confirmed are dismissed, if they exist."""
        template.hear(self._on_message)
        if self._current.get(template.generation) is not template:
            return
        del self._current[template.generation]
        # In development it may not have answered for generations that were given up, either.
        number = template.generation
        self._children.not_forked(list(self._children.forking) if self._reuse is not None else [number])
        self._loop.perform(self._loop.plan.template_gone(number, death, self._loop.now()))

    async def end(self, hurry: Callable[[], bool]) -> None:
        """The server has ended. Give them time to exit, except in a hurry. SIGCHLD is no longer handled."""
        for table in self._tables:
            os.close(table)
        for template in await self._left(hurry):
            os.kill(template.pid, signal.SIGKILL)
        await self._left(lambda: False)

    async def _left(self, hurry: Callable[[], bool]) -> list[TemplateHandle]:
        """The templates that did not exit in time."""
        left = list(self.living.values())
        with anyio.move_on_after(TEMPLATE_EXIT_TIMEOUT):
            while (left := [one for one in left if _alive(one.pid)]) and not hurry():  # noqa: ASYNC110  # as just said
                await anyio.sleep(REAP_INTERVAL)
        return left


def _alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
