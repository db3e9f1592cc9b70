"""Operators: the socket they come in by, and what they may ask.

Promises: only root and the user that the server runs as are served (the kernel's word counts, whatever the file's
mode); an operator that stalls, floods or leaves costs himself; what one asks keeps nobody else waiting.
"""

import errno
import math
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from hsrv.common.errors import BindError
from hsrv.common.terms import Role
from hsrv.ipc.messages import ListenerInfo
from hsrv.ipc.socketfile import remove_socket_file
from hsrv.logs.floods import worth_a_line
from hsrv.logs.logging import get_logger
from hsrv.net.poller import wait_readable
from hsrv.rpc import methods, operator
from hsrv.rpc.calls import Handler, handlers
from hsrv.rpc.credentials import peer_credentials
from hsrv.rpc.dispatcher import Context, Dispatcher
from hsrv.rpc.framing import socket_streams
from hsrv.rpc.messages import ErrorCode, RpcError
from hsrv.rpc.methods import Empty
from hsrv.supervisor.operators.operations import new_id
from hsrv.supervisor.plan.capacity import end_streams, not_ready, replace, scale
from hsrv.supervisor.plan.fleet import ChildState, Gen
from hsrv.supervisor.plan.plan import Phase
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.system import rundir

if TYPE_CHECKING:
    from hsrv.supervisor.supervisor import Supervisor

MAX_OPERATORS: Final = 32
"""Connections at a time. One more is refused."""

MAX_REFUSALS: Final = 8
"""Of them at a time that are told why. One more is just closed."""

REFUSAL_TIMEOUT: Final = 1.0
"""Seconds to tell why."""

IDLE_TIMEOUT: Final = 300.0
"""Seconds after which an operator that asks nothing is disconnected."""

EXHAUSTED_PAUSE: Final = 0.5
"""Seconds without accepting after EMFILE."""

LOOK_INTERVAL: Final = 0.25
"""Seconds between two looks at what a waiting operator waits for, when nothing else happens."""

TASKS_TIMEOUT: Final = 1.0
"""Seconds for a process to tell the stacks of its tasks."""

STACKS_LIMIT: Final = 256 * 1024
"""Characters of all stacks of one answer: JSON may need four bytes for one, and the answer must fit a line."""

PRESTOP_LIMIT: Final = 20
"""Of the things that still run when a prestop is over: how many are named."""

log = get_logger("hsrv.supervisor")


class OperatorSocket:
    """The listening socket in the run directory, removed when the server ends."""

    def __init__(self, run_dir: str | None) -> None:
        """Raises BindError."""
        folder = rundir.prepare(run_dir)
        if why := rundir.exposure(folder):
            log.warning("others may write to the run directory", path=str(folder), why=why)
        rundir.remove_stale(folder)
        self.path = rundir.socket_path(folder, os.getpid())
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        try:
            self._bind()
        except OSError as error:
            self._sock.close()
            raise BindError(f"--run-dir {folder}: {error.strerror or error}") from error
        self._inode: int | None = self.path.lstat().st_ino
        address = (str(self.path), None)
        self.info = ListenerInfo(url=f"unix:{self.path}", address=address, unix_inode=self._inode)
        self._prepare()

    def _prepare(self) -> None:
        self._operators = 0
        self._refusals = 0
        self._letting_in: anyio.CancelScope | None = None

    @classmethod
    def inherited(cls, sock: socket.socket, info: ListenerInfo) -> Self:
        """Of the server that we take over from, which still serves it. Its file will have our name."""
        door = cls.__new__(cls)
        door._sock = sock
        door.path = rundir.socket_path(Path(info.address[0]).parent, os.getpid())
        door._inode = info.unix_inode
        door.info = ListenerInfo(url=f"unix:{door.path}", address=(str(door.path), None))
        door._prepare()
        return door

    def own(self) -> None:
        """The file has our name, and is ours to remove."""
        self.info = msgspec.structs.replace(self.info, unix_inode=self._inode)

    def hand_over(self, pid: int) -> None:
        """Another supervisor lets operators in from now on; those that are in stay until we end. The file is renamed,
        so at every moment there is exactly one that leads to the server."""
        if self._letting_in is not None:
            self._letting_in.cancel()
        self.info = msgspec.structs.replace(self.info, unix_inode=None)
        target = rundir.socket_path(self.path.parent, pid)
        try:
            if not rundir.remove_own(target):
                raise FileExistsError(errno.EEXIST, f"{target.name} is there, and no socket of ours")
            self.path.rename(target)
        except OSError as error:
            log.warning("operator's socket not renamed", path=str(self.path), error=error.strerror)

    def fileno(self) -> int:
        return self._sock.fileno()

    def _bind(self) -> None:
        if not rundir.remove_own(self.path):  # of a server that had our pid before
            raise FileExistsError(errno.EEXIST, f"{self.path.name} is there, and no socket of ours")
        before = os.umask(0o177)
        try:
            self._sock.bind(str(self.path))
        finally:
            os.umask(before)
        self._sock.listen(MAX_OPERATORS)

    def close(self) -> None:
        self._sock.close()
        remove_socket_file(self.info)

    async def serve(self, desk: "OperatorDesk") -> None:
        """Let operators in."""
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as self._letting_in:
                await self._let_in(desk, tasks)

    async def _let_in(self, desk: "OperatorDesk", tasks: TaskGroup) -> None:
        while True:
            await wait_readable(self._sock.fileno())
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except OSError as error:
                log.warning("operator not accepted", error=str(error), pause=EXHAUSTED_PAUSE)
                await anyio.sleep(EXHAUSTED_PAUSE)
                continue
            self._admit(sock, desk, tasks)

    def _admit(self, sock: socket.socket, desk: "OperatorDesk", tasks: TaskGroup) -> None:
        try:
            credentials = peer_credentials(sock)
        except OSError as error:
            if count := worth_a_line("operator not accepted", error.errno):
                log.warning("operator not accepted", error=str(error), count=count)
            sock.close()
            return
        dispatcher = Dispatcher(*socket_streams(sock), name="operator", credentials=credentials)
        if not credentials.may_operate():
            if count := worth_a_line("operator denied"):
                log.warning("operator denied", uid=credentials.uid, child=credentials.pid, count=count)
            why = f"denied: user {credentials.uid} may not operate a server of user {os.geteuid()}"
            self._refuse(dispatcher, why, tasks)
        elif self._operators >= MAX_OPERATORS:
            self._refuse(dispatcher, f"{MAX_OPERATORS} operators are connected already", tasks)
        else:
            tasks.start_soon(self._hear, dispatcher, desk)

    def _refuse(self, dispatcher: Dispatcher, why: str, tasks: TaskGroup) -> None:
        tasks.start_soon(self._say_no, dispatcher, why, self._refusals >= MAX_REFUSALS)

    async def _hear(self, dispatcher: Dispatcher, desk: "OperatorDesk") -> None:
        self._operators += 1
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + IDLE_TIMEOUT) as idle:
                attention = _Attention(idle)
                table = {method: attention.while_it_runs(handler) for method, handler in desk.table().items()}
                serve = handlers(table)
                await dispatcher.run(serve, serve)
        finally:
            self._operators -= 1

    async def _say_no(self, dispatcher: Dispatcher, why: str, at_once: bool) -> None:
        """Answer whatever is asked with the reason, for a moment."""

        async def refuse(context: Context, method: str, params: Any) -> Any:
            raise RpcError(ErrorCode.REFUSED, why)

        self._refusals += 1
        try:
            with anyio.move_on_after(0 if at_once else REFUSAL_TIMEOUT):
                await dispatcher.run(refuse, refuse)
        finally:
            self._refusals -= 1


class _Attention:
    """Keeps an operator's connection from idling out while anything that he asked runs."""

    def __init__(self, idle: anyio.CancelScope) -> None:
        self._idle = idle
        self._running = 0

    def while_it_runs(self, handler: Handler) -> Handler:
        async def handle(context: Context, params: object) -> object:
            self._running += 1
            self._idle.deadline = math.inf
            try:
                return await handler(context, params)
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.deadline = anyio.current_time() + IDLE_TIMEOUT

        return handle


class OperatorDesk:
    """What operators may ask of one supervisor (`hsrv.rpc.operator`)."""

    def __init__(self, supervisor: "Supervisor") -> None:
        self._supervisor = supervisor
        self._plan = supervisor.plan

    def table(self) -> dict[methods.Method[Any, Any], Handler]:
        table = {method: self._while_ours(handler) for method, handler in self._table().items()}
        return {operator.PING: self._ping, **table}

    def _while_ours(self, handler: Handler) -> Handler:
        async def handle(context: Context, params: object) -> object:
            self._check_ours()
            return await handler(context, params)

        return handle

    def _check_ours(self) -> None:
        """An operator who came in before an upgrade means the server, and not what is left of the old one."""
        heir = self._supervisor.upgrades.heir
        if heir is not None:
            why = f"the supervisor with pid {heir.pid} has taken over: connect again"
            raise RpcError(ErrorCode.MOVED, why, {"pid": heir.pid})

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
        status = await self._supervisor.status.read()
        self._check_ours()
        return status

    # what changes the fleet

    async def _reload(self, context: Context, params: operator.ReloadParams) -> operator.ReloadResult:
        self._check_running()
        operation = self._supervisor.operations.open(self._supervisor.next_reload_id())
        self._supervisor.reload(operation.id)
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
        upgrades = self._supervisor.upgrades
        operation = self._supervisor.operations.open(new_id())
        upgrades.begin(operation.id)
        await operation.follow(context.progress)
        if operation.error or upgrades.heir is None:
            raise RpcError(ErrorCode.FAILED, operation.error, {"traceback": operation.traceback})
        return operator.UpgradeResult(upgrade_id=operation.id, pid=upgrades.heir.pid, adopts=upgrades.adopts)

    async def _stop(self, context: Context, params: operator.StopParams) -> Empty:
        now = time.monotonic()
        log.info("stop requested", by=context.credentials and context.credentials.pid, now=params.now)
        if params.now:
            self._supervisor.perform(self._plan.stop_now("hsrv stop --now", now))
        elif self._plan.phase is Phase.RUNNING:
            self._supervisor.perform(self._plan.stop(now))
        return Empty()

    async def _scale(self, context: Context, params: operator.ScaleParams) -> operator.ScaleResult:
        self._check_running()
        before = self._plan.workers
        wanted = params.workers if params.workers is not None else before + (params.step or 0)
        if wanted < 1:
            raise RpcError(ErrorCode.REFUSED, "one worker is the least")
        self._supervisor.perform(scale(self._plan, wanted, time.monotonic()))
        await context.progress(f"{before} → {wanted} workers")
        with anyio.move_on_after(self._plan.budgets.startup) as patience:
            await self._until(
                lambda: (
                    self._plan.phase is not Phase.RUNNING
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
        operation = self._supervisor.operations.open(new_id())
        self._supervisor.perform(replace(self._plan, params.slot, operation.id, time.monotonic()))
        await operation.follow(context.progress)
        if operation.error:
            raise RpcError(ErrorCode.FAILED, operation.error, {"traceback": operation.traceback})
        serving = self._plan.serving()
        child = serving.children.get((Role.WORKER, params.slot)) if serving is not None else None
        handle = self._supervisor.handle(child.identity) if child is not None else None
        return operator.RestartResult(
            name=f"worker-{params.slot}", pid=handle.pid if handle is not None else 0
        )

    def _check_running(self) -> None:
        if self._plan.phase is not Phase.RUNNING:
            raise RpcError(ErrorCode.REFUSED, "the server stops")

    async def _until(self, true: Callable[[], bool]) -> None:
        """Bounded by whatever changes the plan: each of its states ends by itself."""
        while not true():
            with anyio.move_on_after(LOOK_INTERVAL):
                await self._supervisor.changed.wait()

    # readiness

    async def _hold(self, context: Context, params: operator.HoldParams) -> operator.HoldResult:
        self._plan.held = params.held
        self._supervisor.status.forget()
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
            self._supervisor.perform(end_streams(self._plan, time.monotonic()))
        status = await self._supervisor.status.read()
        reports = [child.report for one in status.generations for child in one.processes]
        running = [running for report in reports if report is not None for running in report.oldest]
        seconds = round(anyio.current_time() - began, 3)
        return operator.PrestopResult(seconds=seconds, quiet=quiet, running=running[:PRESTOP_LIMIT])

    async def _accepted(self) -> int:
        """New connections so far, of every process that lives. A process that ends or is busy makes it differ, and
        that is right: then we don't know."""
        status = await self._supervisor.status.read()
        reports = [child.report for one in status.generations for child in one.processes]
        return sum(report.accepted for report in reports if report is not None)

    # looking inside

    async def _stacks(self, context: Context, params: operator.StacksParams) -> operator.StacksResult:
        chosen = [child for child in self._supervisor.children.values() if _is_meant(child, params.target)]
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
        self._supervisor.set_log_level(params.level)
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
