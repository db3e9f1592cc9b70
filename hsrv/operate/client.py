"""Finds a running server and sends requests to it.

Promises: every call ends, even if the server hangs: it is pinged while it works, and the call fails if there is no
answer within --answer-timeout. Each failure is one message: what was wrong, where, what to do.
"""

import os
import pwd
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import msgspec
import psutil

from hsrv.common.errors import NoServerError, OperatorError
from hsrv.common.visible import visible
from hsrv.rpc import calls, methods, operator
from hsrv.rpc.credentials import peer_credentials
from hsrv.rpc.dispatcher import Context, Dispatcher
from hsrv.rpc.framing import socket_streams
from hsrv.rpc.messages import ErrorCode, RpcError
from hsrv.system import rundir

ANSWER_TIMEOUT: Final = 5.0
"""Seconds for a supervisor to answer a request that takes no work."""

FULL_QUEUE_PAUSE: Final = 0.02
"""Seconds between two attempts while the server's accept queue is full."""

PING_INTERVAL: Final = 2.0
"""Seconds between two pings of a supervisor that works on a request."""

FIND_ATTEMPTS: Final = 3
"""Attempts to find a running server: an upgrade may rename its socket between two of them."""

EXIT_TIMEOUT: Final = 10.0
"""Seconds between a supervisor's last message and its exit."""

KEEPER: Final = "hsrv: keeper"
"""Title of the process that stays when its server was upgraded."""

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")


class HungUpError(NoServerError):
    """The server closed the connection, usually because it ends."""


@dataclass(frozen=True)
class Target:
    """Selects a server."""

    run_dir: str | None = None
    pid: int | None = None
    """Of its supervisor."""
    patience: float = ANSWER_TIMEOUT
    """Seconds without an answer after which the server counts as hung."""


def find(target: Target) -> Path:
    """The operator socket of the selected server. Raises NoServerError."""
    for _ in range(FIND_ATTEMPTS):
        found = [
            path for path in rundir.candidates(target.run_dir) if target.pid in (None, rundir.pid_of(path))
        ]
        if not found and target.pid is not None:
            found = [path for path in rundir.candidates(target.run_dir) if _is_kept_by(target.pid, path)]
        living = [path for path in found if not rundir.is_stale(path)]
        if living or not found:
            break
    if len(living) == 1:
        return living[0]
    if living:
        listed = "\n".join(f"  --pid {rundir.pid_of(path)}  {_introduce(path)}" for path in living)
        raise NoServerError(f"several servers are running; choose one:\n{listed}")
    where = target.run_dir or str(rundir.default_run_dir())
    which = "" if target.pid is None else f" with pid {target.pid}"
    raise NoServerError(
        f"no running server{which} found in {where}; if its operator socket is elsewhere (see the server's first "
        "log lines), give the directory with --run-dir or HSRV_RUN_DIR"
    )


def _is_kept_by(pid: int, path: Path) -> bool:
    """Whether this pid is that of the first process of a server that was upgraded: it stays for those who know it
    (`hsrv.supervisor.upgrade.keeper`), and is the ancestor of the supervisors that came after it."""
    try:
        return psutil.Process(pid).cmdline()[:1] == [KEEPER] and pid in {
            process.pid for process in psutil.Process(rundir.pid_of(path)).parents()
        }
    except psutil.Error:
        return False


def _introduce(path: Path) -> str:
    try:
        status = ask(path, operator.STATUS, operator.StatusParams(), limit=ANSWER_TIMEOUT)
    except (NoServerError, OperatorError) as error:
        return f"{path} ({error})"
    return visible(f"{status.app} at {' '.join(listener.url for listener in status.listeners)}")


class MovedError(NoServerError):
    """Another supervisor has taken over since the connection was made."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path
        """Of its socket."""


def run_with(path: Path, work: Callable[[Path], Awaitable[T]]) -> T:
    """Run `work` with the server at `path`; run it again with a server that has taken over meanwhile."""
    while True:
        try:
            return anyio.run(work, path)
        except MovedError as moved:
            path = moved.path


def ask(
    path: Path,
    method: methods.Method[P, R],
    params: P,
    *,
    on_step: Callable[[str], None] | None = None,
    patience: float = ANSWER_TIMEOUT,
    limit: float | None = None,
) -> R:
    """The server's answer. `limit`: seconds for it, even while the server answers pings; None: no limit.

    Raises NoServerError (not reached) or OperatorError (refused, failed)."""

    async def work(path: Path) -> R:
        async with connected(path, patience) as session:
            return await session.ask(method, params, on_step, limit=limit)

    return run_with(path, work)


class Session:
    """A connection to a server."""

    def __init__(self, path: Path, dispatcher: Dispatcher, patience: float) -> None:
        self.path = path
        self._patience = patience
        self._dispatcher = dispatcher

    async def ask(
        self,
        method: methods.Method[P, R],
        params: P,
        on_step: Callable[[str], None] | None = None,
        *,
        limit: float | None = None,
    ) -> R:
        """Wait without limit, or for `limit` seconds, while the server answers pings."""
        answer: list[R] = []

        async def work() -> None:
            answer.append(await self._ask(method, params, on_step, timeout=limit))
            tasks.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work)
                while True:
                    await self._ask(operator.PING, methods.Empty(), None, timeout=self._patience)
                    await anyio.sleep(PING_INTERVAL)
        except BaseExceptionGroup as group:
            first = next(iter(_leaves(group)))
            raise first from None
        return answer[0]

    async def _ask(
        self,
        method: methods.Method[P, R],
        params: P,
        on_step: Callable[[str], None] | None,
        timeout: float | None = None,
    ) -> R:
        def progress(params: dict[str, Any]) -> None:
            if on_step is not None:
                on_step(str(params.get("step")))

        try:
            return await calls.call(self._dispatcher, method, params, timeout=timeout, on_progress=progress)
        except RpcError as error:
            raise self._translate(error) from error

    def _translate(self, error: RpcError) -> NoServerError | OperatorError:
        pid = rundir.pid_of(self.path)
        if error.code == ErrorCode.TIMEOUT:
            return NoServerError(
                f"the server with pid {pid} did not answer in time ({error.message}): it is stopped or overloaded "
                f"({_state_of(pid)})"
            )
        if error.code == ErrorCode.CONNECTION_CLOSED:
            return HungUpError(
                f"the server with pid {pid} closed the connection: it is ending, or refused access"
            )
        if error.code == ErrorCode.MOVED:
            return MovedError(error.message, rundir.socket_path(self.path.parent, error.data["pid"]))
        if error.code == ErrorCode.METHOD_NOT_FOUND:
            return NoServerError(f"the server with pid {pid} runs another version of hsrv: {error.message}")
        traceback = error.data.get("traceback", "") if isinstance(error.data, dict) else ""
        return OperatorError(f"{traceback}{error.message}" if traceback else error.message)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _state_of(pid: int) -> str:
    try:
        return f"its process is {psutil.Process(pid).status()}"
    except psutil.Error:
        return "its process is gone"


@asynccontextmanager
async def connected(path: Path, patience: float = ANSWER_TIMEOUT) -> AsyncIterator[Session]:
    """A session. Raises NoServerError."""
    dispatcher = Dispatcher(*socket_streams(_connect(path, patience)), name="server")
    failure: NoServerError | OperatorError | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(dispatcher.run, _decline, _ignore)
        try:
            yield Session(path, dispatcher, patience)
        except (NoServerError, OperatorError) as error:
            failure = error  # raised below, outside the exception group
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _connect(path: Path, patience: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(patience)
    try:
        _connect_in_time(sock, path, patience)
    except PermissionError as error:
        sock.close()
        raise NoServerError(f"{path}: permission denied; {_owner_of(path)}") from error
    except TimeoutError as error:
        sock.close()
        raise NoServerError(
            f"{path}: the server accepts no connections; it is stopped or overloaded"
        ) from error
    except OSError as error:
        sock.close()
        raise NoServerError(f"{path}: {error.strerror or error}") from error
    uid = peer_credentials(sock).uid
    if uid not in (0, os.geteuid(), path.parent.stat().st_uid):
        sock.close()
        raise NoServerError(f"{path}: user {uid} listens there, but doesn't own the directory")
    return sock


def _connect_in_time(sock: socket.socket, path: Path, patience: float) -> None:
    """Wait for room in the server's accept queue: unlike TCP, a Unix socket with a timeout doesn't. Raises OSError,
    TimeoutError after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            _connect_or_follow(sock, path)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                raise TimeoutError from None
            time.sleep(FULL_QUEUE_PAUSE)


def _connect_or_follow(sock: socket.socket, path: Path) -> None:
    """Connect, also if an upgrade has just renamed the socket. Raises OSError."""
    try:
        sock.connect(str(path))
    except FileNotFoundError:
        living = [one for one in rundir.candidates(str(path.parent)) if not rundir.is_stale(one)]
        if len(living) != 1:
            raise
        sock.connect(str(living[0]))


async def _decline(context: Context, method: str, params: Any) -> Any:
    raise RpcError(ErrorCode.METHOD_NOT_FOUND, "an operator has no methods")


async def _ignore(context: Context, method: str, params: Any) -> None:
    """The server sends an operator no notifications of its own."""


def _owner_of(path: Path) -> str:
    try:
        uid = path.stat().st_uid
    except OSError:
        return "only root and the user of the server may operate it"
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return f"the server runs as {name}: run the command as {name} or root (you are user {os.geteuid()})"


async def wait_for_end(pid: int, timeout: float = EXIT_TIMEOUT) -> bool:
    """Whether the process ends by then."""
    with anyio.move_on_after(timeout):
        while _runs(pid):  # noqa: ASYNC110  # not our child: there is no notification
            await anyio.sleep(0.05)
        return True
    return not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
