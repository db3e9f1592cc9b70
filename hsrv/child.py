"""The life that workers and pools have in common.

    load the application ─► lifespan startup ─► "ready" ─► wait for "serve" ─► serve ─► drain ─► lifespan shutdown

Owns the event loop and the control channel of the process. Promises: a failure before "ready" reaches the supervisor
with its traceback; when the supervisor is gone (end of file on the control channel) the process drains and exits.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskStatus

from hsrv.apploader import LoadedApp, load_app
from hsrv.asgi import Application
from hsrv.channel import Channel
from hsrv.config import Config
from hsrv.errors import AppLoadError, ExitCode
from hsrv.http.host import scope_extension
from hsrv.lifespan import LifespanManager
from hsrv.logging import get_logger
from hsrv.loops import new_loop
from hsrv.messages import ListenerInfo
from hsrv.rpc import methods
from hsrv.rpc.dispatcher import Context, Dispatcher
from hsrv.rpc.framing import socket_streams
from hsrv.rpc.methods import DrainParams, Empty, handlers
from hsrv.terms import Identity

LEFTOVER_TIMEOUT: Final = 1.0
"""Seconds for tasks that the application left behind to end after they were cancelled."""

log = get_logger("hsrv.child")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildBoot:
    """What a worker or pool is born with. All descriptors are inherited from the template."""

    identity: Identity
    config: Config
    app: LoadedApp | None
    """None when the template did not import it."""
    control: socket.socket
    handoff_send: Channel
    handoff_receive: Channel
    adopt_send: Channel
    adopt_receive: Channel
    listeners: list[tuple[ListenerInfo, socket.socket]]

    @property
    def application(self) -> Application:
        assert self.app is not None, "run_child loads it first"
        return self.app.app


class Service(Protocol):
    """What a role does between "serve" and its end: a `Worker` or an `AsyncPool`."""

    def set_lifespan_state(self, state: dict[str, Any]) -> None: ...
    async def run(self) -> None: ...
    def announce_close(self) -> None: ...
    def begin_drain(self, drain: DrainParams) -> None: ...
    def finish(self) -> None: ...
    def learned(self, patterns: list[str]) -> None: ...
    def pool_available(self, available: bool) -> None: ...


MakeService = Callable[[ChildBoot, asyncio.AbstractEventLoop, Callable[[str], None]], Service]


def run_child(boot: ChildBoot, make_service: MakeService) -> int:
    """Live a child's life; its exit code. Called once per process, after the fork."""
    loop = new_loop(boot.config.loop)
    asyncio.set_event_loop(loop)
    try:
        loaded = _load(boot)  # outside of the running loop: a module may call asyncio.run() on import
        return loop.run_until_complete(_Child(loop, boot.control).live(loaded, make_service))
    finally:
        _end(loop)


def _load(boot: ChildBoot) -> ChildBoot | AppLoadError:
    if boot.app is not None:
        return boot
    try:
        return replace(boot, app=load_app(boot.config))
    except AppLoadError as error:
        return error


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what the application left running, and close the loop. Threads are left to the process's end."""
    leftovers = asyncio.all_tasks(loop)
    for task in leftovers:
        task.cancel()
    if leftovers:
        loop.run_until_complete(asyncio.wait(leftovers, timeout=LEFTOVER_TIMEOUT))
    loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), LEFTOVER_TIMEOUT))
    loop.close()


class _Child:
    def __init__(self, loop: asyncio.AbstractEventLoop, control: socket.socket) -> None:
        self._loop = loop
        self._dispatcher = Dispatcher(*socket_streams(control))
        self._serve = asyncio.Event()
        self._orphaned = asyncio.Event()
        self._service: Service | None = None
        self._learned: asyncio.Queue[str] = asyncio.Queue(maxsize=1024)

    async def live(self, loaded: ChildBoot | AppLoadError, make_service: MakeService) -> int:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._control)
            tasks.start_soon(self._report_learned)
            if isinstance(loaded, AppLoadError):
                code: int = await self._fail("import", loaded)
            else:
                code = await self._live(loaded, make_service)
            tasks.cancel_scope.cancel()
        return code

    async def _live(self, boot: ChildBoot, make_service: MakeService) -> int:
        config = boot.config
        lifespan = LifespanManager(
            boot.application,
            config.lifespan,
            startup_timeout=config.lifespan_startup_timeout,
            shutdown_timeout=config.lifespan_shutdown_timeout,
            extension=scope_extension(boot.identity),
        )
        try:
            supported = await lifespan.startup()
        except AppLoadError as error:
            return await self._fail("lifespan", error)
        service = self._service = make_service(boot, self._loop, self._learn)
        service.set_lifespan_state(lifespan.state)
        await methods.notify(self._dispatcher, methods.READY, methods.ReadyParams(pid=os.getpid(), lifespan=supported))
        await self._serve.wait()
        if not self._orphaned.is_set():
            await service.run()
        await lifespan.shutdown()
        return ExitCode.OK

    async def _fail(self, stage: str, error: AppLoadError) -> int:
        failure = methods.FailedParams(stage=stage, message=str(error), traceback=error.traceback)
        await methods.notify(self._dispatcher, methods.FAILED, failure)
        return ExitCode.APP

    # control channel

    async def _control(self, *, task_status: TaskStatus[None]) -> None:
        """Serve the supervisor until it is gone."""
        on_request, on_notify = self._handlers()
        await self._dispatcher.run(on_request, on_notify, task_status=task_status)
        log.info("supervisor gone, draining")
        self._orphaned.set()
        self._serve.set()
        if self._service is not None:
            config_drain = DrainParams(graceful_timeout=self._grace[0], stream_grace=self._grace[1])
            self._service.begin_drain(config_drain)
            self._service.finish()
