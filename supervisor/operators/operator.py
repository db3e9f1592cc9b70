"""The operator socket and its connections. Their requests are answered by `desk`.

Promises: only root and the user that the server runs as are served (checked by the kernel's credentials of the peer,
whatever the file's mode); an operator that stalls, floods or disconnects affects only itself; no request makes another
one wait.
"""

import errno
import math
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from hsrv.common.errors import BindError
from hsrv.ipc.messages import ListenerInfo
from hsrv.ipc.socketfile import remove_socket_file
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.poller import wait_readable
from hsrv.rpc import methods
from hsrv.rpc.calls import Handler, handlers
from hsrv.rpc.credentials import peer_credentials
from hsrv.rpc.dispatcher import Context, Dispatcher
from hsrv.rpc.framing import socket_streams
from hsrv.rpc.messages import ErrorCode, RpcError
from hsrv.system import rundir

MAX_OPERATORS: Final = 32
"""Connections at a time. One more is refused."""

MAX_REFUSALS: Final = 8
"""Refused connections at a time that get a reason. Others are just closed."""

REFUSAL_TIMEOUT: Final = 1.0
"""Seconds to send the reason."""

IDLE_TIMEOUT: Final = 300.0
"""Seconds without a request after which an operator is disconnected."""

EXHAUSTED_PAUSE: Final = 0.5
"""Seconds without accepting after EMFILE."""

log = get_logger("hsrv.supervisor")


class Desk(Protocol):
    """Answers requests."""

    def table(self) -> Mapping[methods.Method[Any, Any], Handler]: ...


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
        self._accepting: anyio.CancelScope | None = None

    @classmethod
    def inherited(cls, sock: socket.socket, info: ListenerInfo) -> Self:
        """The socket of the server that this one replaces, which still serves it. Its file will be renamed to our
        pid."""
        found = cls.__new__(cls)
        found._sock = sock
        found.path = rundir.socket_path(Path(info.address[0]).parent, os.getpid())
        found._inode = info.unix_inode
        found.info = ListenerInfo(url=f"unix:{found.path}", address=(str(found.path), None))
        found._prepare()
        return found

    def own(self) -> None:
        """The file has our name now, and is ours to remove."""
        self.info = msgspec.structs.replace(self.info, unix_inode=self._inode)

    def hand_over(self, pid: int) -> None:
        """Another supervisor accepts operators from now on; those that are connected stay until this one ends. The file
        is renamed, so at every moment exactly one file leads to the server."""
        if self._accepting is not None:
            self._accepting.cancel()
        self.info = msgspec.structs.replace(self.info, unix_inode=None)
        target = rundir.socket_path(self.path.parent, pid)
        try:
            if not rundir.remove_own(target):
                raise FileExistsError(errno.EEXIST, f"{target.name} is there, and no socket of ours")
            self.path.rename(target)
        except OSError as error:
            log.warning("operator socket not renamed", path=str(self.path), error=error.strerror)

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

    async def serve(self, desk: "Desk") -> None:
        """Accept operators."""
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as self._accepting:
                await self._accept(desk, tasks)

    async def _accept(self, desk: "Desk", tasks: TaskGroup) -> None:
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

    def _admit(self, sock: socket.socket, desk: "Desk", tasks: TaskGroup) -> None:
        try:
            credentials = peer_credentials(sock)
        except OSError as error:
            if count := lines_due("operator not accepted", error.errno):
                log.warning("operator not accepted", error=str(error), count=count)
            sock.close()
            return
        dispatcher = Dispatcher(*socket_streams(sock), name="operator", credentials=credentials)
        if not credentials.may_operate():
            if count := lines_due("operator denied"):
                log.warning("operator denied", uid=credentials.uid, child=credentials.pid, count=count)
            why = f"denied: user {credentials.uid} may not operate a server of user {os.geteuid()}"
            self._refuse(dispatcher, why, tasks)
        elif self._operators >= MAX_OPERATORS:
            self._refuse(dispatcher, f"{MAX_OPERATORS} operators are connected already", tasks)
        else:
            tasks.start_soon(self._hear, dispatcher, desk)

    def _refuse(self, dispatcher: Dispatcher, why: str, tasks: TaskGroup) -> None:
        tasks.start_soon(self._answer_refused, dispatcher, why, self._refusals >= MAX_REFUSALS)

    async def _hear(self, dispatcher: Dispatcher, desk: "Desk") -> None:
        self._operators += 1
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + IDLE_TIMEOUT) as idle:
                attention = _IdleGuard(idle)
                table = {method: attention.while_it_runs(handler) for method, handler in desk.table().items()}
                serve = handlers(table)
                await dispatcher.run(serve, serve)
        finally:
            self._operators -= 1

    async def _answer_refused(self, dispatcher: Dispatcher, why: str, at_once: bool) -> None:
        """Answer every request with the reason, for REFUSAL_TIMEOUT."""

        async def refuse(context: Context, method: str, params: Any) -> Any:
            raise RpcError(ErrorCode.REFUSED, why)

        self._refusals += 1
        try:
            with anyio.move_on_after(0 if at_once else REFUSAL_TIMEOUT):
                await dispatcher.run(refuse, refuse)
        finally:
            self._refusals -= 1


class _IdleGuard:
    """Prevents the idle timeout of an operator's connection while one of its requests runs."""

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
