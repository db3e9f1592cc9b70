"""The methods that operators can call, and their answers.

Promise: no request makes another one wait.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import anyio
import msgspec

from hsrv.common.terms import Role
from hsrv.logs.logging import get_logger
from hsrv.rpc import methods, operator
from hsrv.rpc.calls import Handler
from hsrv.rpc.dispatcher import Context
from hsrv.rpc.messages import ErrorCode, RpcError
from hsrv.rpc.methods import Empty
from hsrv.status.model import oldest
from hsrv.supervisor.hands.children import Children
from hsrv.supervisor.operators.operations import Operations, new_id
from hsrv.supervisor.operators.reloads import Reloads
from hsrv.supervisor.plan.capacity import not_ready
from hsrv.supervisor.plan.fleet import ChildState, Gen
from hsrv.supervisor.plan.state import ServerPhase, View
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.runtime.loop import Loop

LOOK_INTERVAL: Final = 0.25
"""Seconds between two checks of the condition that an operator waits for, if nothing else happens."""

TASKS_TIMEOUT: Final = 1.0
"""Seconds for a process to send the stacks of its tasks."""

STACKS_LIMIT: Final = 256 * 1024
"""Characters of all stacks in one answer: JSON may need four bytes for one, and the answer must fit into a line."""

PRESTOP_LIMIT: Final = 20
"""Maximum number of running requests and streams that the result of a prestop names."""

log = get_logger("hsrv.supervisor")


class Replacement(Protocol):
    """A server that has taken over."""

    pid: int


class Upgrading(Protocol):
    """Upgrades (`hsrv.supervisor.upgrade.upgrade`)."""

    @property
    def replacement(self) -> Replacement | None: ...

    @property
    def adopts(self) -> bool: ...

    def begin(self, operation: str) -> None: ...


class OperatorDesk:
    """The handlers of `hsrv.rpc.operator` for one server."""

    def __init__(
        self,
        loop: Loop,
        *,
        operations: Operations,
        reloads: Reloads,
        upgrades: Upgrading,
        children: Children,
        read_status: Callable[[], Awaitable[operator.ServerStatus]],
    ) -> None:
        self._loop = loop
        self._plan: View = loop.plan
        self._operations = operations
        self._reloads = reloads
        self._upgrades = upgrades
        self._children = children
        self._read_status = read_status

    def table(self) -> dict[methods.Method[Any, Any], Handler]:
        table = {method: self._while_ours(handler) for method, handler in self._table().items()}
        return {operator.PING: self._ping, **table}

    def _while_ours(self, handler: Handler) -> Handler:
        async def handle(context: Context, params: object) -> object:
            self._check_ours()
            return await handler(context, params)

        return handle

    def _check_ours(self) -> None:
        """An operator that connected before an upgrade means the server, not what is left of the old one."""
        replacement = self._upgrades.replacement
        if replacement is not None:
            why = f"the supervisor with pid {replacement.pid} has taken over: connect again"
            raise RpcError(ErrorCode.MOVED, why, {"pid": replacement.pid})

    def _table(self) -> dict[methods.Method[Any, Any], Handler]:
        return {
            operator.STATUS: self._status,
            operator.RELOAD: self._reload,
            operator.UPGRADE: self._upgrade,
            operator.STOP: self._stop,
            operator.SCALE: self._scale,
            operator.HOLD: self._hold,
            operator.RESTART_WORKER: self._restart_worker,
            operator.STACKS: self._stacks,
            operator.LOG_LEVEL: self._log_level,
            operator.PRESTOP: self._prestop,
        }

    async def _ping(self, context: Context, params: Empty) -> Empty:
        return Empty()

    async def _status(self, context: Context, params: operator.StatusParams) -> operator.ServerStatus:
        status = await self._read_status()
        self._check_ours()
        return status

    # commands that change processes

    async def _reload(self, context: Context, params: operator.ReloadParams) -> operator.ReloadResult:
        self._check_running()
        operation = self._operations.open(self._reloads.next_id())
        self._reloads.begin(operation.id)
        await operation.follow(context.progress)
        if operation.error:
            data = {"traceback": operation.traceback, "reload_id": operation.id}
            raise RpcError(ErrorCode.FAILED, operation.error, data)
        serving = self._plan.serving()
        number = serving.number if serving is not None else 0
        if params.wait:
            await context.progress(f"generation {number} serves; waiting for the old one")
            await self._until(lambda: not self._drains_before(number))
        return operator.ReloadResult(reload_id=operation.id, generation=number)

    def _drains_before(self, number: int) -> bool:
        generations = self._plan.generations.values()
        return any(one.number < number and one.state is Gen.DRAINING for one in generations)

    async def _upgrade(self, context: Context, params: operator.UpgradeParams) -> operator.UpgradeResult:
        self._check_running()
        upgrades = self._upgrades
        operation = self._operations.open(new_id())
        upgrades.begin(operation.id)
        await operation.follow(context.progress)
        if operation.error or upgrades.replacement is None:
            raise RpcError(ErrorCode.FAILED, operation.error, {"traceback": operation.traceback})
        return operator.UpgradeResult(
            upgrade_id=operation.id, pid=upgrades.replacement.pid, adopts=upgrades.adopts
        )

    async def _stop(self, context: Context, params: operator.StopParams) -> Empty:
        now = self._loop.now()
        log.info("stop requested", by=context.credentials and context.credentials.pid, now=params.now)
        if params.now:
            self._loop.perform(self._loop.plan.stop_now("hsrv stop --now", now))
        elif self._plan.phase is ServerPhase.RUNNING:
            self._loop.perform(self._loop.plan.stop(now))
        return Empty()

    async def _scale(self, context: Context, params: operator.ScaleParams) -> operator.ScaleResult:
        self._check_running()
        before = self._plan.workers
        wanted = params.workers if params.workers is not None else before + (params.step or 0)
        if wanted < 1:
            raise RpcError(ErrorCode.REFUSED, "one worker is the least")
        self._loop.perform(self._loop.plan.scale(wanted, self._loop.now()))
        await context.progress(f"{before} → {wanted} workers")
        with anyio.move_on_after(self._plan.budgets.startup) as patience:
            await self._until(
                lambda: (
                    self._plan.phase is not ServerPhase.RUNNING
                    or self._plan.workers != wanted
                    or self._workers_serving() >= wanted
                )
            )
        self._check_running()
        if patience.cancelled_caught:
            raise RpcError(ErrorCode.FAILED, f"{self._workers_serving()} of {wanted} workers serve so far")
        return operator.ScaleResult(before=before, workers=self._plan.workers)

    def _workers_serving(self) -> int:
        serving = self._plan.serving()
        everyone = serving.children.values() if serving is not None else ()
        return sum(one.identity.role is Role.WORKER and one.state is ChildState.SERVING for one in everyone)

    async def _restart_worker(
        self, context: Context, params: operator.RestartParams
    ) -> operator.RestartResult:
        operation = self._operations.open(new_id())
        self._loop.perform(self._loop.plan.replace(params.slot, operation.id, self._loop.now()))
        await operation.follow(context.progress)
        if operation.error:
            raise RpcError(ErrorCode.FAILED, operation.error, {"traceback": operation.traceback})
        serving = self._plan.serving()
        child = serving.children.get((Role.WORKER, params.slot)) if serving is not None else None
        handle = self._children.handle(child.identity) if child is not None else None
        return operator.RestartResult(
            name=f"worker-{params.slot}", pid=handle.pid if handle is not None else 0
        )

    def _check_running(self) -> None:
        if self._plan.phase is not ServerPhase.RUNNING:
            raise RpcError(ErrorCode.REFUSED, "the server stops")

    async def _until(self, true: Callable[[], bool]) -> None:
        """Bounded, because every state of the plan ends within a bound."""
        while not true():
            with anyio.move_on_after(LOOK_INTERVAL):
                await self._loop.changed.wait()

    # readiness

    async def _hold(self, context: Context, params: operator.HoldParams) -> operator.HoldResult:
        self._loop.perform(self._loop.plan.hold(params.held))
        why = not_ready(self._plan)
        log.info("readiness held" if params.held else "readiness released", ready=not why)
        return operator.HoldResult(ready=not why, not_ready_because=why)

    async def _prestop(self, context: Context, params: operator.PrestopParams) -> operator.PrestopResult:
        """Wait at least `delay`, then for `quiet` seconds without a new connection, at most `timeout` in all."""
        await self._hold(context, operator.HoldParams(held=True))
        began = news_at = anyio.current_time()
        accepted, quiet = await self._accepted(), False
        await context.progress(f"not ready any more; waiting {params.delay:g} s for load balancers to notice")
        with anyio.move_on_after(params.timeout):
            await anyio.sleep(params.delay)
            while not quiet:
                latest = await self._accepted()
                if latest != accepted:
                    accepted, news_at = latest, anyio.current_time()
                quiet = anyio.current_time() - news_at >= params.quiet
                if not quiet:
                    await anyio.sleep(LOOK_INTERVAL)
        if params.end_streams:
            await context.progress("the streams are ended")
            self._loop.perform(self._loop.plan.end_streams(self._loop.now()))
        status = await self._read_status()
        running = oldest(status)
        seconds = round(anyio.current_time() - began, 3)
        return operator.PrestopResult(seconds=seconds, quiet=quiet, running=running[:PRESTOP_LIMIT])

    async def _accepted(self) -> int:
        """New connections so far, of all processes of this server, also of those that have ended."""
        status = await self._read_status()
        return sum(role.counts["accepted"] for role in status.totals.values())

    # diagnosis

    async def _stacks(self, context: Context, params: operator.StacksParams) -> operator.StacksResult:
        chosen = [child for child in self._children.living.values() if _is_meant(child, params.target)]
        if not chosen:
            raise RpcError(ErrorCode.REFUSED, f"there is no process {params.target!r}")
        found: list[operator.ProcessStacks] = []

        async def look(child: ChildHandle) -> None:
            found.append(await _stacks_of(child))

        async with anyio.create_task_group() as tasks:
            for child in chosen:
                tasks.start_soon(look, child)
        share = STACKS_LIMIT // (2 * len(found))
        cut = [
            msgspec.structs.replace(one, threads=one.threads[:share], tasks=one.tasks[:share])
            for one in found
        ]
        return operator.StacksResult(processes=sorted(cut, key=lambda one: (one.generation, one.name)))

    async def _log_level(self, context: Context, params: operator.LogLevelParams) -> Empty:
        self._children.set_log_level(params.level)
        return Empty()


def _is_meant(child: ChildHandle, target: str) -> bool:
    identity = child.identity
    return target in ("", str(identity.role), identity.name) or (
        identity.role is Role.WORKER and target == str(identity.slot)
    )


async def _stacks_of(child: ChildHandle) -> operator.ProcessStacks:
    threads = await child.thread_stacks()
    tasks, note = (
        "",
        "" if threads else "it did not react: it hangs in the kernel, is stopped, or has just ended",
    )
    try:
        tasks = await child.task_stacks(timeout=TASKS_TIMEOUT)
    except RpcError as error:
        note = note or f"its event loop does not turn ({error})"
    return operator.ProcessStacks(
        name=child.identity.name,
        generation=child.identity.generation,
        pid=child.pid,
        threads=threads,
        tasks=tasks,
        note=note,
    )
