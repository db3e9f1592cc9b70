"""All workers and pools of one server: commands to them, messages from them, and their ends.

Promises: no process gets a signal after its end is known; each end is reported once.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, Protocol

from structlog.contextvars import clear_contextvars

from hsrv.common.globs import LearnedPaths
from hsrv.common.terms import DeathReason, Identity, Role
from hsrv.logs.logging import get_logger, set_level
from hsrv.rpc import methods
from hsrv.supervisor.health.deaths import DeathExaminer
from hsrv.supervisor.health.recycler import resident_memory
from hsrv.supervisor.plan import actions
from hsrv.supervisor.plan.actions import ChildAction
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.runtime.configuration import Configuration
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.runtime.reports import ProcessExited, ProcessReady, ProcessReaped, ProcessStarted

LATE: Final = (DeathReason.STARTUP_TIMEOUT, DeathReason.DRAIN_TIMEOUT)
"""Reasons for a kill that don't say what the process was doing: its stacks are logged first."""

log = get_logger("hsrv.supervisor")


class Diagnostics(Protocol):
    """Why a process will be killed, or has ended (`hsrv.supervisor.health.healing`)."""

    deaths: DeathExaminer

    async def kill_with_stacks(self, child: ChildHandle, reason: DeathReason, why: str) -> None: ...

    def report_crash(self, child: ChildHandle) -> None: ...


class Children:
    """All workers and pools whose end is not known."""

    def __init__(
        self,
        loop: Loop,
        configuration: Configuration,
        diagnostics: Diagnostics,
        living: dict[int, ChildHandle],
        on_unknown_exit: Callable[[int, int], None],
    ) -> None:
        """`living`: by pid, shared with the readers of their state. `on_unknown_exit`: called with pid and wait
        status of a process that has ended and is none of these."""
        self.living = living
        self.forking: dict[int, list[ChildHandle]] = {}
        """By generation, in the order of the requests to the template."""
        self.on_modules: Callable[[Mapping[str, str | None], float], None] = lambda modules, began: None
        """Called with the files that the application consists of, and a time before which none of them was read."""
        self._learned = LearnedPaths()
        self._loop = loop
        self._configuration = configuration
        self._diagnostics = diagnostics
        self._on_unknown_exit = on_unknown_exit

    # commands

    def act(self, action: ChildAction) -> None:
        child, tasks = self.handle(action.identity), self._loop.tasks
        if child is None:
            return
        if isinstance(action, actions.BeginStartup):
            child.command(tasks, methods.BEGIN_STARTUP)
        elif isinstance(action, actions.Serve):
            level = self._configuration.config.log_level
            params = methods.ServeParams(level=level, learned=self.patterns_known())
            child.command(tasks, methods.SERVE, params)
        elif isinstance(action, actions.AnnounceClose):
            child.command(tasks, methods.ANNOUNCE_CLOSE)
        elif isinstance(action, actions.Drain):
            drain = methods.DrainParams(
                graceful_timeout=action.graceful, stream_grace=action.stream_grace, adopt=action.adopt
            )
            child.command(tasks, methods.DRAIN, drain)
        elif isinstance(action, actions.Finish):
            child.command(tasks, methods.FINISH)
        elif isinstance(action, actions.Dismiss):
            child.dismiss()

    def kill(self, child: ChildHandle, reason: DeathReason, why: str) -> None:
        """Kill a process that was forked."""
        if reason in LATE:
            self._loop.tasks.start_soon(self._diagnostics.kill_with_stacks, child, reason, why)
        else:
            child.kill(reason, why)

    def pool_available(self, action: actions.PoolAvailable) -> None:
        log.warning(
            "pool available" if action.available else "pool unavailable", generation=action.generation
        )
        params = methods.PoolAvailableParams(available=action.available)
        for child in self.living.values():
            if child.identity.generation == action.generation:
                child.tell(self._loop.tasks, methods.POOL_AVAILABLE, params)

    def set_log_level(self, level: Literal["debug", "info", "warning", "error"]) -> None:
        """In every process, also in those forked later."""
        set_level(level)
        self._configuration.set_log_level(level)
        for child in self.living.values():
            child.command(self._loop.tasks, methods.LOG_LEVEL, methods.LogLevelParams(level=level))

    # the set of processes

    def handle(self, identity: Identity) -> ChildHandle | None:
        return next((child for child in self._everyone() if child.identity is identity), None)

    def _everyone(self) -> Iterator[ChildHandle]:
        yield from self.living.values()
        for waiting in self.forking.values():
            yield from waiting

    def began(self, child: ChildHandle) -> None:
        """Its template is about to get the request to fork it."""
        self.forking.setdefault(child.identity.generation, []).append(child)
        self._loop.tasks.start_soon(self._hear, child)

    def forked(self, identity: Identity, pid: int, error: str) -> None:
        """The answer of a template. Answers come in the order of the requests."""
        waiting = self.forking.get(identity.generation)
        if not waiting:
            log.debug("late message of a template", message="Forked", child=pid)
            return
        child = waiting.pop(0)
        if error:
            child.ended(DeathReason.NOT_FORKED, f"could not be forked: {error}")
            return
        child.forked(pid)
        self.living[pid] = child
        self._loop.tell(ProcessStarted(child.identity, pid))
        self._loop.perform(self._loop.plan.child_forked(child.identity))

    def not_forked(self, generations: list[int]) -> None:
        """Their template has ended: processes that it has not confirmed are dismissed, if they exist."""
        for child in [child for number in generations for child in self.forking.pop(number, [])]:
            child.dismiss()
            child.ended(DeathReason.NOT_FORKED, "was not forked")

    async def all_drain(self) -> None:
        """Wait until every worker has confirmed that it no longer accepts, or has ended."""
        for child in list(self.living.values()):
            if child.identity.role is Role.WORKER:
                await child.draining.wait()

    # messages

    async def _hear(self, child: ChildHandle) -> None:
        """Until it has ended and all of its messages were read."""
        clear_contextvars()  # of the operation that it was forked for: what comes later belongs to none
        loop, plan, identity = self._loop, self._loop.plan, child.identity
        await child.run(self._on_ready, self._on_failed, self._on_learned, self._on_recycle)
        if not child.gone.is_set():
            loop.perform(plan.child_silent(identity, loop.now()))
            await child.gone.wait()
        log.debug("reaped", process=identity.name, child=child.pid, reason=child.death)
        self._diagnostics.report_crash(child)
        self._count(child)
        child.close()
        known = plan.find(identity)
        expected = child.reason is DeathReason.EXIT and known is not None and known.is_expected_to_end
        loop.perform(plan.child_exited(identity, child.death, loop.now(), pid=child.pid))
        loop.tell(ProcessReaped(identity, child.pid, child.reason, child.death, expected))

    def _on_ready(self, child: ChildHandle, params: methods.ReadyParams) -> None:
        if params.modules:
            self.on_modules(params.modules, child.template_began)
        child.baseline = resident_memory(child.pid)
        self._loop.tell(ProcessReady(child.identity, child.pid, params.interface))
        self._loop.perform(self._loop.plan.child_ready(child.identity, self._loop.now()))

    def _on_failed(self, child: ChildHandle, params: methods.FailedParams) -> None:
        failed = self._loop.plan.child_failed
        now = self._loop.now()
        self._loop.perform(failed(child.identity, params.stage, params.message, params.traceback, now))

    def _on_recycle(self, child: ChildHandle, params: methods.RecycleParams) -> None:
        recycle = self._loop.plan.recycle
        self._loop.perform(recycle(child.identity, params.reason, params.why, self._loop.now()))

    # learned paths

    def patterns_known(self) -> list[str]:
        return self._learned.patterns

    def learn(self, patterns: list[str]) -> list[str]:
        """Add them; returns those that are new."""
        new = [pattern for pattern in patterns if pattern not in self._learned]
        self._learned.add(new)
        return new

    def _on_learned(self, child: ChildHandle, params: methods.LearnedParams) -> None:
        news = methods.LearnedParams(patterns=self.learn(params.patterns), plain=params.plain)
        if news.patterns or news.plain:
            for other in self.living.values():
                if other is not child:
                    other.tell(self._loop.tasks, methods.LEARNED, news)

    # ends

    def exited(self, pid: int, status: int) -> None:
        child = self.living.pop(pid, None)
        if child is None:
            self._on_unknown_exit(pid, status)
            return
        self._count(child)  # at the moment when it leaves `living`, so it is counted once
        status_told = None if child.was_killed else status
        child.ended(*self._diagnostics.deaths.examine(status_told, self._loop.now()))

    def _count(self, child: ChildHandle) -> None:
        if not child.counted:
            child.counted = True
            self._loop.tell(ProcessExited(child.identity, child.look()))
