"""All templates of one server: started, told what to fork, and seen off.

Promise: none outlives its use by more than TEMPLATE_EXIT_TIMEOUT.
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
"""Seconds for a template to exit: one that is told to, and one that closed its channel."""

REAP_INTERVAL: Final = 0.01
"""Seconds between looks at the last templates, when signals are not heard any more."""

log = get_logger("hsrv.supervisor")


class Reuse(Protocol):
    """Development: whether a template is as good as a new one."""

    def keeps_template(self) -> bool: ...


@dataclass(frozen=True)
class Outfit:
    """What every template gets."""

    addresses: Addresses
    handoffs: Handoffs
    adopt: tuple[Channel, Channel]
    leadership: int
    """Descriptor of the file by which one process at a time leads, of the server before us and after us too."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables beside our own."""
    metrics_dir: str = ""


class Templates:
    """Of all generations."""

    def __init__(
        self,
        loop: Loop,
        configuration: Configuration,
        outfit: Outfit,
        children: Children,
        *,
        deaths: DeathExaminer,
        reuse: Reuse | None,
    ) -> None:
        """`reuse`: None but in development."""
        self._loop = loop
        self._configuration = configuration
        self._outfit = outfit
        self._children = children
        self._deaths = deaths
        self._reuse = reuse
        self.living: dict[int, TemplateHandle] = {}
        """By pid: all that have not been reaped."""
        self._current: dict[int, TemplateHandle] = {}
        """By generation: those that may still be asked to fork."""
        self.pids: dict[int, int] = {}
        """By generation: the latest of each that is there."""
        self._tables: tuple[int, ...] = (outfit.leadership,)
        """What all children share: the file of the leadership, and the census once a limit needs it."""
        self.on_ready: Callable[[TemplateReady], None] = lambda message: None
        """Called when one has imported what it is to import."""

    # start

    def spawn(self, action: SpawnTemplate) -> None:
        number, config, outfit = action.generation, self._configuration.config, self._outfit
        try:
            handoff = outfit.handoffs.pair(number)
            if self._renew(number, action.operation):
                return
            if census.is_needed(config) and len(self._tables) == 1:
                self._tables = (outfit.leadership, census.new_file())
            template = TemplateHandle(number, outfit.environ)
        except OSError as error:
            death = f"could not be started: {error}"
            self._loop.perform(self._loop.plan.template_gone(number, death, self._loop.now()))
            return
        self.living[template.pid] = self._current[number] = template
        self.pids[number] = template.pid
        template.boot(
            config,
            action.preload,
            (*handoff, *outfit.adopt),
            outfit.addresses.listeners,
            files=outfit.addresses.files_beside(),
            tables=self._tables,
            metrics_dir=outfit.metrics_dir,
            operation=action.operation,
        )
        self._loop.tasks.start_soon(self._hear, template)

    def _renew(self, number: int, operation: str) -> bool:
        """Development: the template, with all libraries imported, goes on for the next generation. False: there is
        none, or what it has imported is stale."""
        if self._reuse is None:
            return False
        kept = next((one for one in self._current.values() if one.is_ready), None)
        if kept is None or not self._reuse.keeps_template():
            for one in list(self._current):
                self._see_off(one)
            return False
        del self._current[kept.generation]
        self._current[number] = kept
        self.pids[number] = kept.pid
        kept.renew(number, self._configuration.config, self._outfit.handoffs.pair(number), operation)
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
        """Tell them which socket files end with us."""
        for template in self.living.values():
            template.own(self._outfit.addresses.files())

    # what they say

    async def _hear(self, template: TemplateHandle) -> None:
        """Until its channel ends. Its exit status comes with SIGCHLD; without the channel it is of no use."""
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
        """The generation is gone. `stays`: its template goes on with the next one."""
        self._outfit.handoffs.close(number)
        self.pids.pop(number, None)
        if number in self._current and not stays:
            self._see_off(number)

    def _see_off(self, number: int) -> None:
        template = self._current.pop(number)
        template.quit()
        self._loop.tasks.start_soon(self._await_exit, template)

    async def _await_exit(self, template: TemplateHandle) -> None:
        while any(one.template_began == template.began for one in self._children.living.values()):
            await self._loop.changed.wait()
        await anyio.sleep(TEMPLATE_EXIT_TIMEOUT)
        self._kill(template, "it did not quit")

    def kill(self, number: int, why: str) -> None:
        """The one of a generation, if it has one."""
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
        """One that is not in use any more was told to quit, or killed by us."""
        template = self.living.pop(pid)
        in_use = self._current.get(template.generation) is template
        death = self._deaths.examine(status if in_use else None, self._loop.now())[1]
        self._lose(template, death)

    def _lose(self, template: TemplateHandle, death: str) -> None:
        """No template any more. What it was asked to fork and didn't confirm is told to go, if it exists."""
        template.hear(self._on_message)
        if self._current.get(template.generation) is not template:
            return
        del self._current[template.generation]
        # In development it may owe children also to generations that were given up.
        number = template.generation
        self._children.not_forked(list(self._children.forking) if self._reuse is not None else [number])
        self._loop.perform(self._loop.plan.template_gone(number, death, self._loop.now()))

    async def end(self, hurry: Callable[[], bool]) -> None:
        """The server is over. Give them time to exit, unless there is a hurry. Nobody hears SIGCHLD any more."""
        for table in self._tables:
            os.close(table)
        for template in await self._left(hurry):
            os.kill(template.pid, signal.SIGKILL)
        await self._left(lambda: False)

    async def _left(self, hurry: Callable[[], bool]) -> list[TemplateHandle]:
        """Those that did not exit in time."""
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
