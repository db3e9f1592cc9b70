"""The supervisor's view of one worker or pool: its pid and its control channel."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from structlog.contextvars import clear_contextvars

from hsrv.board import stacks
from hsrv.board.scoreboard import new_board, read_board
from hsrv.board.snapshot import Snapshot
from hsrv.common.terms import DeathReason, Identity
from hsrv.logs.logging import get_logger
from hsrv.options.config import Config
from hsrv.rpc import calls, methods
from hsrv.rpc.calls import handlers
from hsrv.rpc.dispatcher import Context, Dispatcher
from hsrv.rpc.framing import socket_streams
from hsrv.rpc.messages import RpcError
from hsrv.rpc.methods import ChildReport, Empty, Method

COMMAND_TIMEOUT: Final = 10.0
"""Seconds for a child to confirm a command. A worker in the middle of a long computation confirms after it. The plan
enforces the deadlines, so a missing confirmation is only logged."""

LAST_WORDS_TIMEOUT: Final = 2.0
"""Seconds after a child's end for reading its last messages."""

MAX_TELLING: Final = 32
"""Notifications that wait for a busy process to read. Those that it misses are sent again."""

STACKS_TIMEOUT: Final = 2.0
"""Seconds for a process to write its stacks. One that hangs in the kernel doesn't."""

STACKS_QUIET: Final = 0.05
"""Seconds without another line after which a dump counts as complete: its end has no mark."""

DEFAULTS: Final = Config()

log = get_logger("hsrv.supervisor")

MessageHandler = Callable[["ChildHandle", Any], None]


class ChildHandle:
    """One child process."""

    def __init__(self, identity: Identity, config: Config = DEFAULTS, template_began: float = 0.0) -> None:
        """`config`: the one that it was started with, not one that a reload has read since. `template_began`: see
        `TemplateHandle.began`."""
        self.identity = identity
        self.config = config
        self.template_began = template_began
        self.pid = 0
        """0 until the template has forked it."""
        self.gone = anyio.Event()
        """Set when it has ended, or was never started."""
        self.death = ""
        """How it ended, in words."""
        self.reason = DeathReason.UNKNOWN
        """The same as a reason for a counter."""
        self.counted = False
        """It has ended and its counters were added to the server's totals."""
        self.forked_at = time.monotonic()
        """When the fork was requested; later, when it was forked."""
        self.baseline = 0
        """Resident bytes when it was ready."""
        self.dump, self.board = _new_files()
        """Descriptors of the file that it writes its stacks to, and of its scoreboard."""
        self._dumping = anyio.Lock()
        self._asked: anyio.Event | None = None
        """Set when the requested report has arrived, or will not arrive."""
        self._report: ChildReport | None = None
        self._telling = 0
        try:
            ours, self.theirs = socket.socketpair()
        except OSError:
            self.close()
            raise
        self._dispatcher = Dispatcher(*socket_streams(ours), name=identity.name)
        self._control = ours
        self._hearing = anyio.CancelScope()
        self._killed_for: tuple[DeathReason, str] | None = None
        self.draining = anyio.Event()
        """Set when it has confirmed a drain, or has ended: it no longer accepts."""

    async def run(
        self,
        on_ready: MessageHandler,
        on_failed: MessageHandler,
        on_learned: MessageHandler,
        on_recycle: MessageHandler,
    ) -> None:
        """Read the child's messages until its control channel ends, also after its end is known."""

        async def ready(context: Context, params: methods.ReadyParams) -> None:
            on_ready(self, params)

        async def failed(context: Context, params: methods.FailedParams) -> None:
            on_failed(self, params)

        async def learned(context: Context, params: methods.LearnedParams) -> None:
            on_learned(self, params)

        async def recycle(context: Context, params: methods.RecycleParams) -> None:
            on_recycle(self, params)

        serve = handlers(
            {
                methods.READY: ready,
                methods.FAILED: failed,
                methods.LEARNED: learned,
                methods.RECYCLE: recycle,
            }
        )
        with self._hearing:
            await self._dispatcher.run(serve, serve)

    def command(self, tasks: TaskGroup, method: Method[Any, Any], params: Any = None) -> None:
        """Send a command without waiting for its confirmation."""
        tasks.start_soon(self._command, method, Empty() if params is None else params)

    async def report(self, tasks: TaskGroup, *, timeout: float) -> ChildReport | None:
        """What it is doing; None before it is ready. Raises TimeoutError if it is busy.

        There is one request at a time, however many callers: requests that a busy process doesn't read would fill its
        channel until no command fits.
        """
        if self._asked is None:
            self._asked = anyio.Event()
            tasks.start_soon(self._ask_for_report, self._asked)
        with anyio.fail_after(timeout):
            await self._asked.wait()
        return self._report

    async def _ask_for_report(self, asked: anyio.Event) -> None:
        clear_contextvars()
        self._report = None
        try:
            self._report = await calls.call(self._dispatcher, methods.REPORT, Empty(), timeout=None)
        except RpcError as error:
            log.debug("no report", process=self.identity.name, error=str(error))
        finally:
            self._asked = None
            asked.set()

    async def task_stacks(self, *, timeout: float) -> str:
        """The stacks of the tasks of its event loop. Raises RpcError."""
        return (await calls.call(self._dispatcher, methods.TASK_STACKS, Empty(), timeout=timeout)).text

    async def thread_stacks(self) -> str:
        """The stacks of all of its threads, whatever it is doing; "" if it doesn't react within STACKS_TIMEOUT."""
        async with self._dumping:
            text = ""
            if self.gone.is_set():  # pid and descriptor may be those of another process
                return text
            stacks.clear_dump(self.dump)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, stacks.SIGNAL)
            with anyio.move_on_after(STACKS_TIMEOUT):
                while True:
                    await anyio.sleep(STACKS_QUIET)
                    if self.gone.is_set():
                        break
                    before, text = text, stacks.read_dump(self.dump)
                    if text and text == before:
                        break
            return text

    async def _command(self, method: Method[Any, Any], params: Any) -> None:
        try:
            await calls.call(self._dispatcher, method, params, timeout=COMMAND_TIMEOUT)
            if method is methods.DRAIN:
                self.draining.set()
        except RpcError as error:
            log.debug(
                "command not confirmed", command=method.name, process=self.identity.name, error=str(error)
            )

    def tell(self, tasks: TaskGroup, method: Method[Any, Any], params: Any) -> None:
        """Send a notification; dropped if MAX_TELLING of them wait for the process to read."""
        if self._telling < MAX_TELLING:
            self._telling += 1
            tasks.start_soon(self._tell, method, params)

    async def _tell(self, method: Method[Any, Any], params: Any) -> None:
        try:
            await calls.notify(self._dispatcher, method, params)
        finally:
            self._telling -= 1

    def dismiss(self) -> None:
        """End the control channel: a child that doesn't serve yet runs its lifespan shutdown and exits."""
        if self._control.fileno() >= 0:
            with contextlib.suppress(OSError):  # it has ended from the other side
                self._control.shutdown(socket.SHUT_RDWR)

    def kill(self, reason: DeathReason, why: str) -> None:
        """SIGKILL, unless its end is known. Even if its template has just reaped it, the pid isn't used again
        that soon."""
        if self.gone.is_set():
            return
        self._killed_for = reason, why
        log.warning("killing", process=self.identity.name, child=self.pid, why=why)
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # reaped by a template that died before it reported it
            self.ended(DeathReason.UNKNOWN, "ended, its exit status is unknown")

    @property
    def was_killed(self) -> bool:
        """Whether we killed it: then its exit status says nothing."""
        return self._killed_for is not None

    def forked(self, pid: int) -> None:
        """Its template has forked it."""
        self.pid = pid
        self.forked_at = time.monotonic()

    def close(self) -> None:
        """Close its descriptors. After `run`."""
        os.close(self.dump)
        os.close(self.board)
        self.dump = self.board = -1

    def look(self) -> Snapshot | None:
        """What it is doing, from its scoreboard; None before it has written one."""
        return read_board(self.board)

    def ended(self, reason: DeathReason, death: str) -> None:
        """Note its end. Only the first call counts."""
        if not self.gone.is_set():
            self.reason, self.death = reason, death
            if self._killed_for is not None:
                self.reason, why = self._killed_for
                self.death = f"was killed: {why}"
            self.gone.set()
            self.draining.set()
            self.dismiss()  # what it has sent is still read; a process that it forked would keep the channel open
            self._hearing.deadline = anyio.current_time() + LAST_WORDS_TIMEOUT


def _new_files() -> tuple[int, int]:
    dump = stacks.new_dump_file()
    try:
        return dump, new_board()
    except OSError:
        os.close(dump)
        raise
