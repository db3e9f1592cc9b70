"""The template: a new interpreter per generation that imports once and forks workers and pools on request.

Owns its children's pids. Promises: no thread and no event loop in this process (it blocks on its channel and the death
of children); a child keeps only those of the template's descriptors that it needs; when the supervisor dies, no child
and no socket file outlives its budget.

Started by `hsrv.child.templatemain`.
"""

import gc
import importlib
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from math import inf
from os import fork  # the application may replace the module's functions (gevent)
from pathlib import Path
from typing import Final, NoReturn

import msgspec
from setproctitle import setproctitle
from structlog.contextvars import bind_contextvars, clear_contextvars

from hsrv.app.forkobjects import reseed
from hsrv.app.forksafety import reopen
from hsrv.board import stacks
from hsrv.board.census import Census
from hsrv.board.lasttaken import LastTaken
from hsrv.board.scoreboard import Scoreboard
from hsrv.child import debugger, leadership, whichprocess
from hsrv.child.boot import ChildBoot
from hsrv.child.exitfunctions import disown
from hsrv.child.leftovers import GRACE, Leftovers
from hsrv.child.life import no_operation
from hsrv.child.preloading import Preloaded, preload
from hsrv.common.errors import ExitCode
from hsrv.common.terms import Identity, Role
from hsrv.events import collectors
from hsrv.ipc.channel import Channel, ChannelClosed, ChannelFull, Packet
from hsrv.ipc.messages import (
    Boot,
    Exited,
    Fork,
    Forked,
    FromTemplate,
    ListenerInfo,
    Own,
    Quit,
    Renew,
    TemplateReady,
    decode_to_template,
    encode,
)
from hsrv.ipc.socketfile import remove_socket_file
from hsrv.logs import logging, output
from hsrv.options.config import Config
from hsrv.options.stopbudget import KILL_MARGIN, SHUTDOWNS, STREAM_END
from hsrv.system import blockedsignals, metricsdir
from hsrv.system.importing import few_collections
from hsrv.system.platform import go_first_when_memory_is_short
from hsrv.system.reaping import reap

ROLES: Final = {Role.WORKER: "hsrv.worker.main:main", Role.POOL: "hsrv.asyncpool.main:main"}
"""Entry points of the children; beside each stands a function `prepare`. By name: `hsrv/` imports none of the roles."""

HANDLED: Final = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    stacks.SIGNAL,
)

ANYIO_BACKEND: Final = "anyio._backends._asyncio"
"""Imported by anyio on first use of an event loop. It takes longer than everything else in a child's start."""

OOM_SCORES: Final = {Role.WORKER: 200, Role.POOL: 100}
"""Added to oom_score_adj, in thousandths of memory: the kernel kills a worker before the pool, which has all streams,
and both before the template and the supervisor, without which nothing can be replaced."""

SEND_TIMEOUT: Final = 10.0
"""Seconds for the supervisor to accept a message before it counts as dead."""

LEFTOVERS_TIMEOUT: Final = GRACE + 0.5
"""Seconds for what the application has left behind to end, at our own end."""

ORPHAN_MARGIN: Final = STREAM_END + KILL_MARGIN
"""Seconds beyond their own budgets that children have after the supervisor's death: the same as at a stop."""

log = logging.get_logger("hsrv.template")


class SupervisorGoneError(Exception):
    """End of file on the template's channel."""


class Template:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._children: set[int] = set()
        self._preloaded = Preloaded()
        self._wake_read, self._wake_write = (
            os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        )
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._leftovers = Leftovers()
        self._last_taken = LastTaken()
        self._take_signals()
        blockedsignals.unblock()

    def _take_signals(self) -> None:
        """SIGCHLD wakes the template. The others are ignored: a terminal sends them to all processes, and the
        supervisor handles them."""
        for signum in HANDLED:
            signal.signal(signum, no_operation)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def run(self) -> int:
        """Run until the supervisor says so or is gone. Returns the exit code."""
        try:
            self._boot()
        except SupervisorGoneError:
            return ExitCode.OK
        try:
            with few_collections():
                reply, self._preloaded = preload(self.boot.config, self.boot.preload)
                if isinstance(reply, TemplateReady):
                    prepare_children(self.boot.config)
            self._take_signals()  # again: the import may have set handlers
            self._send(reply)
            self._leftovers.adopt()
            if isinstance(reply, TemplateReady):
                log.info("imported", app=reply.app, preload=str(reply.preload), detail=reply.detail)
                self._serve()
        except SupervisorGoneError:
            if not self._was_told_to_quit():
                self._outlive_supervisor()
        self._end_leftovers()
        return ExitCode.OK

    def _was_told_to_quit(self) -> bool:
        """The channel has ended. A stopping supervisor sends Quit before, which may have arrived during the import."""
        try:
            while (packet := self._channel.receive(expect=2)) is not None:
                with packet:
                    if isinstance(decode_to_template(packet.payload), Quit):
                        return True
        except ChannelClosed:
            return False
        return False

    # start

    def _boot(self) -> None:
        while (packet := self._receive(expect=16)) is None:
            self._wait()
        with packet:
            message = decode_to_template(packet.payload)
            assert isinstance(message, Boot)
            self.boot = message
            self._files = (*message.listeners, *message.files)
            self._handoff_send, self._handoff_receive, self._adopt_send, self._adopt_receive = (
                Channel(packet.take_socket()) for _ in range(4)
            )
            self._listeners: list[tuple[ListenerInfo, socket.socket]] = [
                (info, packet.take_socket()) for info in message.listeners
            ]
            leadership.use(packet.take_fd() if len(packet) else -1)
            self._census = packet.take_fd() if len(packet) else -1
        if message.metrics_dir:
            # for the life of this process and its children
            self._metrics = metricsdir.hold(Path(message.metrics_dir))
        setproctitle(f"hsrv: template g{message.generation}")
        whichprocess.become(Identity(Role.TEMPLATE, 0, message.generation))
        logging.setup(message.config, whichprocess.process())
        bind_contextvars(**message.log_context)

    # serving

    def _serve(self) -> None:
        """Fork on request, until Quit and the end of all children: each may leave processes behind."""
        quits = False
        while True:
            self._reap()
            if quits and not self._children:
                return
            packet = self._receive()
            if packet is None:
                self._wait(self._leftovers.pause(self._children))
                continue
            with packet:
                message = decode_to_template(packet.payload)
                if isinstance(message, Fork):
                    self._fork(message, packet.take_socket(), packet.take_fd(), packet.take_fd())
                elif isinstance(message, Renew):
                    self._renew(message, packet)
                elif isinstance(message, Own):
                    self._files = message.files
                else:
                    quits = True

    def _renew(self, message: Renew, packet: Packet) -> None:
        self._handoff_send.close()
        self._handoff_receive.close()
        self._handoff_send, self._handoff_receive = (Channel(packet.take_socket()) for _ in range(2))
        self.boot = msgspec.structs.replace(self.boot, config=message.config, generation=message.generation)
        setproctitle(f"hsrv: template g{message.generation}")
        whichprocess.become(Identity(Role.TEMPLATE, 0, message.generation))
        logging.set_identity(whichprocess.process())
        clear_contextvars()
        bind_contextvars(**message.log_context)
        log.info("renewed")

    def _receive(self, *, expect: int = 2) -> Packet | None:
        try:
            return self._channel.receive(expect=expect)
        except ChannelClosed:
            raise SupervisorGoneError from None

    def _wait(self, seconds: float = inf) -> None:
        """Wait for a packet, a child's death or the end of `seconds`."""
        self._poll.poll(None if seconds == inf else max(0.0, seconds) * 1000)
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return

    def _send(self, message: FromTemplate) -> None:
        end = time.monotonic() + SEND_TIMEOUT
        while True:
            try:
                self._channel.send(encode(message))
                return
            except ChannelFull:
                if time.monotonic() > end:
                    raise SupervisorGoneError from None
                select.select([], [self._channel.fileno()], [], 0.1)
            except ChannelClosed:
                raise SupervisorGoneError from None

    def _reap(self) -> None:
        for pid, status in self._collect():  # all before any send, which fails when the supervisor is gone
            self._send(Exited(pid=pid, status=status))

    def _collect(self) -> list[tuple[int, int]]:
        """Those of our children that have ended: (pid, status). What they leave behind ends too."""
        dead = reap()
        ours = [(pid, status) for pid, status in dead if pid in self._children]
        self._children -= {pid for pid, _ in ours}
        self._leftovers.look(self._children, [pid for pid, _ in dead])
        return ours

    def _end_leftovers(self) -> None:
        """Whatever the application has started, by an import too, ends with us: the supervisor gives us longer."""
        end = time.monotonic() + LEFTOVERS_TIMEOUT
        while self._leftovers.end(self._children) and time.monotonic() < end:
            self._wait(0.1)
            reap()

    def _fork(self, message: Fork, control: socket.socket, dump: int, board: int) -> None:
        output.flush()  # else each child would write its copy of the buffer
        try:
            pid = fork()
        except OSError as error:
            self._send(Forked(identity=message.identity, pid=0, error=str(error)))
            return
        else:
            if pid == 0:
                self._become(message, control, dump, board)
        finally:
            control.close()
            os.close(dump)
            os.close(board)
        self._children.add(pid)
        self._send(Forked(identity=message.identity, pid=pid))

    def _become(self, message: Fork, control: socket.socket, dump: int, board: int) -> NoReturn:
        """In the child: release what belongs to the template, and run the role."""
        code: int = ExitCode.INTERNAL
        identity = message.identity
        try:
            stacks.dump_on_signal(dump)
            os.close(dump)
            scoreboard = Scoreboard(board)
            os.close(board)
            clear_contextvars()
            disown()
            reseed(self._preloaded.generators)
            reopen(self._preloaded.files_for_reading)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            debugger.heed_interrupts()
            self._channel.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            setproctitle(f"hsrv: {identity.name} g{identity.generation}")
            if identity.role is Role.WORKER and self.boot.config.worker_nice:
                os.nice(self.boot.config.worker_nice)
            go_first_when_memory_is_short(OOM_SCORES[identity.role])
            whichprocess.become(identity)
            logging.setup(self.boot.config, identity)
            code = entry_point(identity.role)(
                ChildBoot(
                    identity=identity,
                    config=self.boot.config,
                    app=self._preloaded.pool_app if identity.role is Role.POOL else self._preloaded.app,
                    control=control,
                    board=scoreboard,
                    log_context=message.log_context,
                    broken=message.broken,
                    waits=message.waits,
                    handoff_send=self._handoff_send,
                    handoff_receive=self._handoff_receive,
                    adopt_send=self._adopt_send,
                    adopt_receive=self._adopt_receive,
                    listeners=self._listeners,
                    last_taken=self._last_taken,
                    census=Census(self._census) if self._census >= 0 else None,
                )
            )
        except BaseException:
            log.critical("process failed", exception=traceback.format_exc())
        finally:
            logging.tell_lost()
            output.flush()
            os._exit(code)

    def _drop_listeners(self) -> None:
        for _, listener in self._listeners:
            listener.close()

    # the supervisor is gone

    def _outlive_supervisor(self) -> None:
        """Wait for the children, which read the same end of file and drain; kill those that don't; clean up."""
        config = self.boot.config
        log.error("supervisor died, waiting for children", children=len(self._children))
        self._drop_listeners()
        budget = (
            max(config.graceful_timeout, config.stream_grace)
            + SHUTDOWNS * config.lifespan_shutdown_timeout
            + ORPHAN_MARGIN
        )
        end = time.monotonic() + budget
        self._poll.unregister(self._channel.fileno())
        self._collect()  # some may have died before
        while self._children and time.monotonic() < end:
            self._wait(min(end - time.monotonic(), self._leftovers.pause(self._children)))
            self._collect()
        for pid in self._children:
            log.error(
                "child killed", child=pid, why="still running after the supervisor's death and its budget"
            )
            os.kill(pid, signal.SIGKILL)
        for info in self._files:
            remove_socket_file(info)
        if self.boot.metrics_dir:
            metricsdir.remove_last(
                Path(self.boot.metrics_dir), self._metrics
            )  # other templates may wait, too


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def entry_point(role: Role) -> Callable[[ChildBoot], int]:
    """The function that a role's process runs."""
    module, _, name = ROLES[role].partition(":")
    function: Callable[[ChildBoot], int] = getattr(importlib.import_module(module), name)
    return function


def prepare_children(config: Config) -> None:
    """Do once what each child would do. After a preloaded application, because it may patch the modules that children
    import."""
    for target in ROLES.values():
        importlib.import_module(target.partition(":")[0]).prepare(config)
    with suppress(ImportError):  # a private module: if it is gone, each child imports what it needs
        importlib.import_module(ANYIO_BACKEND)
    collectors.plugins()
    debugger.prepare()
    gc.collect()
    gc.freeze()  # objects existing now are never touched by a collection, so their pages stay shared
