"""The lifecycle common to workers and pools.

    load the application ─► wait for "begin_startup", unless it is the leader ─► lifespan startup ─► "ready"
    ─► wait for "serve" ─► serve ─► drain ─► lifespan shutdown

Owns the event loop and the control channel of the process. Promises: a failure before "ready" reaches the supervisor
with its traceback; when the supervisor is gone (end of file on the control channel) the process drains and exits.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskStatus
from structlog.contextvars import bound_contextvars

from hsrv.app.apploader import LoadedApp, load_app
from hsrv.app.apptarget import of_pool
from hsrv.app.lifespan import LifespanManager
from hsrv.app.preload import is_library
from hsrv.app.servertiming import with_server_timing
from hsrv.board import stacks
from hsrv.board.heartbeat import Heartbeat
from hsrv.child import debugger
from hsrv.child.boot import ChildBoot, MakeService, Service
from hsrv.child.exitfunctions import run_exit_functions
from hsrv.child.strayexits import run_past_exits
from hsrv.common.errors import AppLoadError, ExitCode
from hsrv.common.globs import LEARNED_LIMIT, PATTERN_LIMIT
from hsrv.common.terms import Interface, LifespanMode, Role
from hsrv.events.collectors import of_child
from hsrv.http.host import scope_extension
from hsrv.logs.logging import get_logger, set_level
from hsrv.net.context import own_context, soon
from hsrv.net.loops import new_loop
from hsrv.net.poller import turn_of
from hsrv.rpc import calls, methods
from hsrv.rpc.calls import handlers
from hsrv.rpc.dispatcher import Context, Dispatcher
from hsrv.rpc.framing import socket_streams
from hsrv.rpc.messages import ErrorCode, RpcError
from hsrv.rpc.methods import DrainParams, Empty

LEFTOVER_TIMEOUT: Final = 1.0
"""Seconds for tasks that the application left behind to end after they were cancelled."""

LEARNED_AT_ONCE: Final = 64
"""Learned patterns sent in one message."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

MODULES_LIMIT: Final = 3000
"""Modules that are reported. With paths of 200 characters they fit a line of the control channel."""

log = get_logger("hsrv.child")


def run_child(boot: ChildBoot, make_service: MakeService) -> int:
    """Run a child from the fork to its exit code. Called once per process."""
    loop = new_loop(boot.config.loop)
    asyncio.set_event_loop(loop)
    child = _Child(loop, boot)
    code: int = ExitCode.INTERNAL
    try:
        loaded = _prepared(boot)  # outside of the running loop: a module may call asyncio.run() on import
        own_context(loop)  # captured now: with what the import has set, and before anything else can set more
        ignore_stop_signals(loop)
        code = run_past_exits(loop, child.live(loaded, make_service))
    finally:
        try:
            _end(loop)
        finally:
            run_exit_functions(child.shutdown_ends - time.monotonic(), code)
    return code


def _prepared(boot: ChildBoot) -> ChildBoot | AppLoadError:
    """The boot data with the application loaded and wrapped."""
    loaded = _load(boot)
    if (
        isinstance(loaded, AppLoadError)
        or not boot.config.server_timing
        or loaded.interface is Interface.WSGI
    ):
        return loaded  # what calls a WSGI application wraps it itself: `hsrv.wsgi.runner`
    assert loaded.app is not None
    return replace(loaded, app=replace(loaded.app, app=with_server_timing(loaded.application)))


def _load(boot: ChildBoot) -> ChildBoot | AppLoadError:
    if boot.broken is not None:
        from hsrv.develop.devpages import broken_application  # noqa: PLC0415  # for development

        config = msgspec.structs.replace(boot.config, lifespan=LifespanMode.OFF)
        return replace(boot, app=LoadedApp(broken_application(boot.broken), "broken"), config=config)
    if boot.app is not None:
        return boot
    try:
        loaded = load_app(of_pool(boot.config) if boot.identity.role is Role.POOL else boot.config)
        if boot.config.reload_browser and loaded.interface is Interface.ASGI:
            from hsrv.develop.devpages import with_refresh  # noqa: PLC0415  # for development

            loaded = replace(loaded, app=with_refresh(loaded.app, boot.identity.generation))
        return replace(boot, app=loaded)
    except AppLoadError as error:
        return error


def ignore_stop_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Ignore them, whatever handlers the application has set. A terminal or service manager sends them to all
    processes, and the supervisor decides what follows."""
    for signum in STOP_SIGNALS:
        with contextlib.suppress(
            ValueError, RuntimeError
        ):  # uvloop under gevent: no handler can have been added
            loop.remove_signal_handler(signum)
        signal.signal(signum, no_operation)
    debugger.heed_interrupts()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def no_operation(signum: int, frame: FrameType | None) -> None:
    """A handler instead of SIG_IGN: programs that the application starts would inherit SIG_IGN."""


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel tasks that the application left running, and close the loop. Threads end with the process."""
    try:
        leftovers = asyncio.all_tasks(loop)
        for task in leftovers:
            task.cancel()
        if leftovers:
            run_past_exits(loop, _wait_for(leftovers))
        run_past_exits(loop, _end_generators(loop))
    finally:
        loop.close()


async def _wait_for(leftovers: set[asyncio.Task[Any]]) -> None:
    _, left = await asyncio.wait(leftovers, timeout=LEFTOVER_TIMEOUT)
    if left:
        log.warning("tasks of the application did not end", tasks=len(left), timeout=LEFTOVER_TIMEOUT)


async def _end_generators(loop: asyncio.AbstractEventLoop) -> None:
    try:
        await asyncio.wait_for(loop.shutdown_asyncgens(), LEFTOVER_TIMEOUT)
    except TimeoutError:
        log.warning("generators of the application did not end", timeout=LEFTOVER_TIMEOUT)


def imported_files() -> dict[str, str | None]:
    """For a file watcher: the imported modules of the user, and one of each library, with their files. At most
    MODULES_LIMIT, because they are sent in one line."""
    own: dict[str, str | None] = {}
    libraries: dict[str, tuple[str, str]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and is_library(Path(file)):
            libraries.setdefault(name.partition(".")[0], (name, file))
        elif isinstance(file, str):
            own[name] = file
    found = [*own.items(), *libraries.values()]
    return dict(found[:MODULES_LIMIT])


class _Child:
    def __init__(self, loop: asyncio.AbstractEventLoop, boot: ChildBoot) -> None:
        self._loop = loop
        self._dispatcher = Dispatcher(*socket_streams(boot.control), name="supervisor")
        self._shutdown_timeout = boot.config.lifespan_shutdown_timeout
        self.shutdown_ends = 0.0
        """When the common timeout of the lifespan's shutdown and exit functions ends."""
        self._may_start = asyncio.Event()
        """Set by "begin_startup", and when the supervisor is gone."""
        self._serve = asyncio.Event()
        """Set by "serve", and when the supervisor is gone."""
        self._orphaned = False
        """The supervisor was gone before "serve"."""
        self._cancel_startup: Callable[[], None] = lambda: None
        self._service: Service | None = None
        self._learned: asyncio.Queue[tuple[str, bool]] = asyncio.Queue(maxsize=LEARNED_LIMIT)
        self._worn: asyncio.Queue[methods.RecycleParams] = asyncio.Queue(maxsize=1)

    async def live(self, loaded: ChildBoot | AppLoadError, make_service: MakeService) -> int:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._control, loaded)
            if isinstance(loaded, AppLoadError):
                code: int = await self._fail("import", loaded)
            else:
                tasks.start_soon(self._report_learned)
                tasks.start_soon(self._report_worn_out)
                code = await self._live(loaded, make_service)
            tasks.cancel_scope.cancel()
        self.shutdown_ends = self.shutdown_ends or time.monotonic() + self._shutdown_timeout
        return code

    async def _live(self, boot: ChildBoot, make_service: MakeService) -> int:
        config = boot.config
        lifespan = LifespanManager(
            boot.application,
            LifespanMode.OFF if boot.interface is Interface.WSGI else config.lifespan,  # which has none
            startup_timeout=config.lifespan_startup_timeout,
            shutdown_timeout=config.lifespan_shutdown_timeout,
            extension=scope_extension(boot.identity),
        )
        self._cancel_startup = lifespan.cancel_startup
        if not await self._may_begin(boot):
            return ExitCode.OK
        try:
            supported = await lifespan.startup()
        except AppLoadError as error:
            return ExitCode.OK if self._orphaned else await self._fail("lifespan", error)
        ignore_stop_signals(self._loop)
        try:
            collectors = of_child(boot.identity, config.collector) if boot.broken is None else None
        except AppLoadError as error:
            await lifespan.shutdown()
            return await self._fail("collector", error)
        boot = replace(boot, collectors=collectors)
        service = self._service = make_service(boot, self._loop, self._learn)
        service.set_lifespan_state(lifespan.state)
        service.on_worn_out = self._worn_out
        gc.freeze()
        interface = str(boot.interface)
        with bound_contextvars(**boot.log_context):
            log.info("ready", lifespan=supported, interface=interface)
        tells = config.reload and boot.identity.leader and boot.broken is None
        modules = imported_files() if tells else {}
        ready = methods.ReadyParams(pid=os.getpid(), lifespan=supported, interface=interface, modules=modules)
        with Heartbeat(boot.board, self._loop, service.occupant, service.rescue):
            await calls.notify(self._dispatcher, methods.READY, ready)
            await self._serve.wait()
            if not self._orphaned:
                await service.run()
        self.shutdown_ends = time.monotonic() + self._shutdown_timeout
        await lifespan.shutdown()
        if collectors is not None:
            await asyncio.to_thread(collectors.close)
        return ExitCode.OK

    async def _may_begin(self, boot: ChildBoot) -> bool:
        """Whether the lifespan startup may, once it is this process's turn."""
        if boot.waits:
            await self._may_start.wait()
        return not self._orphaned

    async def _fail(self, stage: str, error: AppLoadError) -> int:
        failure = methods.FailedParams(stage=stage, message=str(error), traceback=error.traceback)
        await calls.notify(self._dispatcher, methods.FAILED, failure)
        return ExitCode.APP

    # control channel

    async def _control(
        self, loaded: ChildBoot | AppLoadError, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Handle the supervisor's messages until it is gone; then drain."""
        serve = handlers(
            {
                methods.BEGIN_STARTUP: self._on_begin_startup,
                methods.SERVE: self._on_serve,
                methods.ANNOUNCE_CLOSE: self._on_announce_close,
                methods.DRAIN: self._on_drain,
                methods.FINISH: self._on_finish,
                methods.LEARNED: self._on_learned,
                methods.POOL_AVAILABLE: self._on_pool_available,
                methods.LOG_LEVEL: self._on_log_level,
                methods.REPORT: self._on_report,
                methods.TASK_STACKS: self._on_task_stacks,
            }
        )
        await self._dispatcher.run(serve, serve, task_status=task_status)
        if self._serve.is_set() and self._service is not None and isinstance(loaded, ChildBoot):
            log.info("supervisor gone, draining")
            config = loaded.config
            drain = DrainParams(graceful_timeout=config.graceful_timeout, stream_grace=config.stream_grace)
            self._soon(self._service.begin_drain, drain)
            self._soon(self._service.finish)
        else:
            self._orphaned = True
            self._may_start.set()
            self._serve.set()
            self._cancel_startup()

    async def _on_begin_startup(self, context: Context, params: Empty) -> None:
        self._may_start.set()

    async def _on_serve(self, context: Context, params: methods.ServeParams) -> None:
        set_level(params.level)
        self._running().learned(params.learned, [])
        self._serve.set()

    async def _on_announce_close(self, context: Context, params: Empty) -> None:
        self._running().announce_close()

    async def _on_drain(self, context: Context, params: DrainParams) -> None:
        service = self._running()
        log.info("draining")
        self._soon(service.begin_drain, params)
        begun = asyncio.Event()
        self._soon(begun.set)
        await begun.wait()  # the confirmation means that no more connections are accepted

    async def _on_finish(self, context: Context, params: Empty) -> None:
        self._soon(self._running().finish)

    async def _on_learned(self, context: Context, params: methods.LearnedParams) -> None:
        self._running().learned(params.patterns, params.plain)

    async def _on_pool_available(self, context: Context, params: methods.PoolAvailableParams) -> None:
        self._running().pool_available(params.available)

    async def _on_log_level(self, context: Context, params: methods.LogLevelParams) -> None:
        set_level(params.level)

    async def _on_report(self, context: Context, params: Empty) -> methods.ChildReport:
        return self._running().report()

    async def _on_task_stacks(self, context: Context, params: Empty) -> methods.StacksResult:
        return methods.StacksResult(text=stacks.task_stacks())

    def _soon(self, command: Callable[..., None], *arguments: Any) -> None:
        """Run a command in the loop's next turn, outside of this task and its context: a drain reads what has arrived
        and may start requests, which run their first step at once (`hsrv.net.eager`)."""
        soon(self._loop, self._run_command, command, *arguments)

    def _run_command(self, command: Callable[..., None], *arguments: Any) -> None:
        with turn_of(self._loop):
            command(*arguments)

    def _running(self) -> Service:
        if self._service is None:
            raise RpcError(ErrorCode.REFUSED, "not ready yet")
        return self._service

    # learned paths

    def _learn(self, pattern: str, streams: bool) -> None:
        """Called by the service, on the hot path: only queues it. If the queue is full it is dropped, and learned
        again."""
        if len(pattern) > PATTERN_LIMIT:
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._learned.put_nowait((pattern, streams))

    def _worn_out(self, reason: str, why: str) -> None:
        """Called by the service, on the hot path: within an application call or a callback of the loop, neither of
        which may start a task. One queued request is enough."""
        with contextlib.suppress(asyncio.QueueFull):
            self._worn.put_nowait(methods.RecycleParams(reason=reason, why=why))

    async def _report_worn_out(self) -> None:
        while True:
            params = await self._worn.get()
            await calls.notify(self._dispatcher, methods.RECYCLE, params)

    async def _report_learned(self) -> None:
        while True:
            found = [await self._learned.get()]
            while len(found) < LEARNED_AT_ONCE and not self._learned.empty():
                found.append(self._learned.get_nowait())
            patterns = [pattern for pattern, streams in found if streams]
            plain = [pattern for pattern, streams in found if not streams]
            params = methods.LearnedParams(patterns=patterns, plain=plain)
            await calls.notify(self._dispatcher, methods.LEARNED, params)
