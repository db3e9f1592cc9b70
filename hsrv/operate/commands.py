"""The commands that talk to a running server: parameters, output, exit."""

import contextlib
import inspect
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import anyio
import msgspec
import typer

from hsrv.common.errors import NoServerError, OperatorError
from hsrv.common.visible import visible, visible_block
from hsrv.operate import views
from hsrv.operate.arguments import time_from
from hsrv.operate.client import (
    ANSWER_TIMEOUT,
    Session,
    Target,
    ask,
    connected,
    find,
    run_with,
    wait_for_end,
)
from hsrv.options.config import SERVER_LOG_LEVELS
from hsrv.rpc import operator
from hsrv.rpc.methods import Empty, Method
from hsrv.status.model import unfinished
from hsrv.system import rundir

_TARGET: Final = (
    ("run_dir", str | None, None, typer.Option(
        "--run-dir", envvar="HSRV_RUN_DIR", help="directory of the server's operator socket", metavar="DIRECTORY")),
    ("pid", int | None, None, typer.Option("--pid", help="pid of the supervisor, when several run", metavar="PID")),
    ("patience", float, ANSWER_TIMEOUT, typer.Option(
        "--answer-timeout", help="time without an answer after which the server counts as hung", metavar="TIME",
        parser=time_from(0.1))),
)  # fmt: skip
"""Parameters of every command: name, type, default, option."""

WATCH_INTERVAL: Final = 1.0
"""Seconds between two requests of --watch."""

STACKS_TIME: Final = 10.0
"""Seconds for processes to write their stacks, in addition to --answer-timeout."""

CLEAR: Final = "\033[H\033[2J"

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


def adders() -> dict[str, Callable[[typer.Typer], None]]:
    """By its name, what adds a command to the command line."""
    commands: dict[str, Callable[..., None]] = {
        "status": status,
        "top": top,
        "reload": reload,
        "upgrade": upgrade,
        "stop": stop,
        "drain": drain,
        "undrain": undrain,
        "restart-worker": restart_worker,
        "stacks": stacks,
        "log-level": log_level,
        "prestop": prestop,
        "scale": scale,
    }
    return {name: partial(_add, name, command) for name, command in commands.items()}


def _add(name: str, command: Callable[..., None], app: typer.Typer) -> None:
    # "-1" means one worker less and is not an option
    settings = {"ignore_unknown_options": True} if command is scale else None
    app.command(name, rich_help_panel="A running server", context_settings=settings)(_with_target(command))


def _with_target(command: Callable[..., None]) -> Callable[..., None]:
    """A typer command that also takes the options that select a server, and calls `command` with the `Target`."""

    def run(*, run_dir: str | None, pid: int | None, patience: float, **given: Any) -> None:
        command(Target(run_dir, pid, patience), **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        *(one.replace(kind=keyword) for one in list(inspect.signature(command).parameters.values())[1:]),
        *(
            inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, option])
            for name, kind, default, option in _TARGET
        ),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


def say(text: str) -> None:
    """Print progress to standard error."""
    sys.stderr.write(f"hsrv: {visible(text)}\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """Print the result, one or several lines."""
    sys.stdout.write(f"{visible_block(text)}\n")
    sys.stdout.flush()


def _ask(target: Target, method: Method[P, R], params: P, limit: float | None = None) -> R:
    return ask(find(target), method, params, on_step=say, patience=target.patience, limit=limit)


def status(
    target: Target,
    as_json: Annotated[
        bool, typer.Option("--json", help="in the format described in docs/control.md")
    ] = False,
    why: Annotated[
        bool, typer.Option("--why", help="also show what each draining process is waiting for")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="repeat every second, until Ctrl-C")] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="exit 1 unless the server is ready for traffic")
    ] = False,
) -> None:
    """Show generations, processes and what they do, listeners and streams."""
    path = find(target)

    def text(found: operator.ServerStatus) -> str:
        if as_json:
            return json.dumps(msgspec.to_builtins(found)).replace(
                "\x7f", "\\u007f"
            )  # the other control characters are escaped
        return views.status_text(found) + (f"\n{views.why_text(found)}" if why else "")

    if watch:
        run_with(path, lambda path: _watch(path, target.patience, text))
    found = ask(
        path, operator.STATUS, operator.StatusParams(), patience=target.patience, limit=target.patience
    )
    show(text(found))
    if ready and not found.ready:
        raise OperatorError(f"not ready: {found.not_ready_because}")


async def _watch(path: Path, patience: float, text: Callable[[operator.ServerStatus], str]) -> None:
    """Until the server ends, or Ctrl-C."""
    async with connected(path, patience) as session:
        while True:
            found = await session.ask(operator.STATUS, operator.StatusParams(), limit=patience)
            sys.stdout.write(CLEAR if sys.stdout.isatty() else "")
            show(text(found))
            await anyio.sleep(WATCH_INTERVAL)


def top(target: Target) -> None:
    """Watch processes, rates, streams and events, live; keys sort, q quits."""
    from hsrv.operate.top import top  # noqa: PLC0415  # imports rich, which no other command needs

    anyio.run(top, find(target), target.patience)


def reload(
    target: Target,
    wait: Annotated[
        bool, typer.Option("--wait", help="also wait until the old generation has ended")
    ] = False,
) -> None:
    """Reload the code. Exit 0 when it serves, 1 with the traceback when it can't and the old code keeps serving."""
    result = _ask(target, operator.RELOAD, operator.ReloadParams(wait=wait))
    show(f"generation {result.generation} serves (reload {result.reload_id})\n")


def upgrade(
    target: Target,
    wait: Annotated[bool, typer.Option("--wait", help="also wait until the old server has ended")] = False,
) -> None:
    """Start a new server, of the version that is installed now, and let it take over: no connection is refused. Exit 0
    when the new one serves, 1 when it can't and the old one keeps serving."""
    run_with(find(target), lambda path: _upgrade(path, target.patience, wait))


async def _upgrade(path: Path, patience: float, wait: bool) -> None:
    async with connected(path, patience) as session:
        result = await session.ask(operator.UPGRADE, operator.UpgradeParams(), say)
        how = "" if result.adopts else ", of a version that can't take over idle connections"
        show(f"pid {result.pid} serves (upgrade {result.upgrade_id}){how}\n")
        if wait:
            say("waiting for the old server to finish")
            with contextlib.suppress(NoServerError):
                while True:
                    await session.ask(operator.PING, Empty())
                    await anyio.sleep(0.2)


def stop(
    target: Target,
    now: Annotated[bool, typer.Option("--now", help="don't wait for requests and streams")] = False,
) -> None:
    """Stop the server, and wait until it has ended."""
    path = find(target)
    run_with(path, lambda path: _stop(path, target.patience, now))
    show("stopped\n")


async def _stop(path: Path, patience: float, now: bool) -> None:
    async with connected(path, patience) as session:
        await session.ask(operator.STOP, operator.StopParams(now=now))
        try:
            await _see_it_end(session)
        except NoServerError:
            if not await wait_for_end(rundir.pid_of(path)):
                raise
            return


async def _see_it_end(session: Session) -> None:
    """Raises NoServerError when the server has ended or hangs."""
    told, next_at = "", time.monotonic() + WATCH_INTERVAL
    while True:
        found = await session.ask(operator.STATUS, operator.StatusParams())
        text = f"waiting for {unfinished(found)} requests and streams (hsrv status --why names them)"
        if time.monotonic() >= next_at and text != told:
            told = text
            say(text)
        await anyio.sleep(0.2)


def scale(
    target: Target,
    workers: Annotated[
        str, typer.Argument(help="number of workers; +1, -2: this many more or fewer", metavar="N|+N|-N")
    ],
) -> None:
    """Change the number of workers without dropping a request. Returns when they serve."""
    try:
        number = int(workers)
    except ValueError:
        raise typer.BadParameter(f"{workers!r} is not a number of workers like 8, +1 or -2") from None
    if workers.lstrip()[:1] in ("+", "-"):
        params = operator.ScaleParams(step=number)
    else:
        params = operator.ScaleParams(workers=number)
    result = _ask(target, operator.SCALE, params)
    show(f"{result.workers} workers (before: {result.before})\n")


def drain(target: Target) -> None:
    """Report not ready, so that load balancers send no more traffic. Requests are served as before."""
    _hold(target, held=True)


def undrain(target: Target) -> None:
    """Report ready again."""
    _hold(target, held=False)


def _hold(target: Target, *, held: bool) -> None:
    result = _ask(target, operator.HOLD, operator.HoldParams(held=held), target.patience)
    show("ready\n" if result.ready else f"not ready: {result.not_ready_because}\n")


def restart_worker(
    target: Target,
    worker: Annotated[
        str, typer.Argument(help="number of the worker, or its name: worker-2", metavar="SLOT")
    ],
) -> None:
    """Replace one worker: a new process starts first, then the old one drains."""
    slot = worker.removeprefix("worker-")
    if not slot.isdecimal():
        raise typer.BadParameter(
            f"{worker!r} is not the number or the name of a worker, such as 2 or worker-2"
        )
    result = _ask(target, operator.RESTART_WORKER, operator.RestartParams(slot=int(slot)))
    show(f"{result.name} serves as pid {result.pid}\n")


def stacks(
    target: Target,
    process: Annotated[
        str,
        typer.Argument(
            help="number of a worker, pool, or a name like pool-1; default: all", metavar="[SLOT|pool]"
        ),
    ] = "",
) -> None:
    """Show every Python stack of live processes, also of one that is stuck."""
    limit = target.patience + STACKS_TIME
    result = _ask(target, operator.STACKS, operator.StacksParams(target=process), limit)
    show(views.stacks_text(result.processes))


def log_level(
    target: Target,
    level: Annotated[str, typer.Argument(help=", ".join(SERVER_LOG_LEVELS), metavar="LEVEL")],
) -> None:
    """Change the log level of every process, until the server ends."""
    level = level.lower()
    if level not in SERVER_LOG_LEVELS:
        raise typer.BadParameter(f"{level!r} is not one of {', '.join(SERVER_LOG_LEVELS)}")
    known: Literal["debug", "info", "warning", "error"] = level  # type: ignore[assignment]  # one of them
    _ask(target, operator.LOG_LEVEL, operator.LogLevelParams(level=known), target.patience)
    show(f"log level {level}\n")


def prestop(
    target: Target,
    delay: Annotated[
        float,
        typer.Option(
            help="minimum time to wait, for load balancers to notice", metavar="TIME", parser=time_from(0)
        ),
    ] = 5.0,
    quiet: Annotated[
        float,
        typer.Option(
            help="time without a new connection after which it is safe", metavar="TIME", parser=time_from(0)
        ),
    ] = 1.0,
    timeout: Annotated[
        float, typer.Option(help="maximum time to wait", metavar="TIME", parser=time_from(0))
    ] = 20.0,
    end_streams: Annotated[
        bool,
        typer.Option(
            "--end-streams", help="then end streams within --stream-grace, before TERM: for sidecars"
        ),
    ] = False,
) -> None:
    """For a container's preStop hook: report not ready, then wait until it is safe to send TERM."""
    params = operator.PrestopParams(delay=delay, quiet=quiet, timeout=timeout, end_streams=end_streams)
    result = _ask(target, operator.PRESTOP, params)
    show(views.prestop_text(result))
