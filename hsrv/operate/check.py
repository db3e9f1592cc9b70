"""`hsrv check`: warns of problems that would appear later.

Loads the application and runs its lifespan once, as a worker would, in this process. The warnings are computed by pure
functions from the configuration and facts about the system.
"""

import asyncio
import os
import re
import resource
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from hsrv.app.apploader import load_app
from hsrv.app.apptarget import of_pool, resolve_target
from hsrv.app.forksafety import Before, before_import, unsafe_to_fork
from hsrv.app.lifespan import LifespanManager
from hsrv.app.preload import import_libraries
from hsrv.common.terms import Identity, Interface, LifespanMode, Preload, Role
from hsrv.options.bindspec import UnixBind, parse_bind
from hsrv.options.config import Config
from hsrv.options.stopbudget import SHUTDOWNS, STOP_MARGIN, longest_stop_of
from hsrv.system import privileges
from hsrv.system.cpus import resolve_workers

KEEP_ALIVE: Final = 60.0
"""Seconds after which common load balancers close an idle connection (AWS ALB and most others)."""

_OWN_PAGES: Final = {"/static/*", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}
"""What Flask and FastAPI add by themselves."""

SPARE_DESCRIPTORS: Final = 200
"""Descriptors of a process besides its streams: the application's own files, sockets and database connections."""


@dataclass(frozen=True)
class Expectations:
    """What only the operator can know."""

    termination_grace_period: float | None = None
    """Seconds between TERM and KILL (Kubernetes, systemd's TimeoutStopSec); None when unknown."""
    streams: int = 800
    """Streams open at a time."""


@dataclass(frozen=True)
class Findings:
    app: str
    """The import string that was resolved."""
    lifespan: bool
    """Whether the application supports it."""
    warnings: list[str]


def check(config: Config, expected: Expectations) -> Findings:
    """Raises AppLoadError when the application can't be loaded or started, ConfigError for --user and --group."""
    account = privileges.resolve(config.user, config.group)
    if account is not None:
        privileges.become(account)
    before = before_import()
    libraries = _unsafe_libraries(config, before)
    loaded = load_app(config)
    pool = loaded if config.pool_app is None else load_app(of_pool(config))
    unsafe = libraries if config.preload is Preload.LIBRARIES else unsafe_to_fork(before)
    lifespan = False
    for one in {loaded.import_string: loaded, pool.import_string: pool}.values():
        if one.interface is Interface.ASGI:
            lifespan |= asyncio.run(_try_lifespan(config, one.app))
    warnings = [
        *keep_alive_warnings(config),
        *budget_warnings(config, expected),
        *preload_warnings(config, unsafe),
        *worker_warnings(config),
        *descriptor_warnings(config, expected, resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        *unix_socket_warnings(config),
        *interface_warnings(config, loaded.interface, pool.interface),
        *(route_warnings(routes_of(loaded.app), routes_of(pool.app)) if pool is not loaded else ()),
    ]
    return Findings(loaded.import_string, lifespan, warnings)


def _unsafe_libraries(config: Config, before: Before) -> str | None:
    if config.preload is not Preload.LIBRARIES:
        return None
    import_libraries(resolve_target(config).import_string, config.app_dir)
    return unsafe_to_fork(before, "the libraries")


async def _try_lifespan(config: Config, app: object) -> bool:
    identity = Identity(Role.WORKER, 1, 1, leader=True)
    lifespan = LifespanManager(
        app,  # type: ignore[arg-type]  # checked by load_app
        config.lifespan,
        startup_timeout=config.lifespan_startup_timeout,
        shutdown_timeout=config.lifespan_shutdown_timeout,
        extension={"role": str(identity.role), "slot": 1, "generation": 1, "leader": True},
    )
    supported = await lifespan.startup()
    await lifespan.shutdown()
    return supported


def interface_warnings(config: Config, workers: Interface, pool: Interface) -> Iterator[str]:
    """Options that mean nothing to the interface that was found."""
    if config.threads > 1 and workers is Interface.ASGI:
        yield f"--threads {config.threads} has no effect: the workers' application is ASGI"
    if config.lifespan is LifespanMode.ON and Interface.ASGI not in (workers, pool):
        yield "--lifespan on has no effect: WSGI has no lifespan; run start-up code when the module is imported"


def routes_of(app: Any) -> set[str] | None:
    """The paths that an application says that it has; None: it doesn't tell. Flask, Starlette and FastAPI do."""
    rules = getattr(getattr(app, "url_map", None), "iter_rules", None)
    if rules is not None:
        return {_plain(rule.rule) for rule in rules()}
    routes = getattr(app, "routes", None)
    if isinstance(routes, list):
        return {_plain(route.path) for route in routes if isinstance(getattr(route, "path", None), str)}
    return None


def _plain(rule: str) -> str:
    """Without the names and kinds of parameters, which frameworks write differently."""
    return re.sub(r"<[^>]*>|\{[^}]*\}", "*", rule)


def route_warnings(workers: set[str] | None, pool: set[str] | None) -> Iterator[str]:
    """Whether a request runs in a worker or in the pool depends on the request: both should know what they may get."""
    if workers is None or pool is None:
        return
    shown = ", ".join(sorted(workers - pool - _OWN_PAGES)[:10])
    if shown:
        yield (
            f"only the workers' application knows {shown}: a request for it that accepts text/event-stream gets 404 "
            "from --pool-app, unless --no-stream names it"
        )
    shown = ", ".join(sorted(pool - workers - _OWN_PAGES)[:10])
    if shown:
        yield (
            f"only --pool-app knows {shown}: a request for it that is neither a WebSocket nor accepts "
            "text/event-stream gets 404 from the workers, unless --stream names it"
        )


def keep_alive_warnings(config: Config) -> Iterator[str]:
    """If the server closes a connection while the balancer sends a request on it, the client gets 502."""
    if config.keep_alive <= KEEP_ALIVE:
        yield (
            f"--keep-alive {config.keep_alive:g} is not longer than the {KEEP_ALIVE:g} s of common load balancers: "
            "they will send requests on connections that are being closed, and answer 502; the default is 75"
        )


def budget_warnings(config: Config, expected: Expectations) -> Iterator[str]:
    grace, longest = expected.termination_grace_period, longest_stop_of(config)
    if grace is not None and longest > grace:
        yield (
            f"a stop may take {longest:g} s (--drain-delay {config.drain_delay:g} + the longer of --graceful-timeout "
            f"{config.graceful_timeout:g} and --stream-grace {config.stream_grace:g}, + "
            f"{SHUTDOWNS} x --lifespan-shutdown-timeout {config.lifespan_shutdown_timeout:g} + {STOP_MARGIN:g}), "
            f"but KILL comes after {grace:g} s: shorten the budgets, "
            "or lengthen the grace period (it also covers the preStop hook)"
        )


def preload_warnings(config: Config, unsafe: str | None) -> Iterator[str]:
    if unsafe is not None and config.preload is not Preload.NONE:
        then = (
            "all processes will share it, except threads, which won't exist in them"
            if config.preload is Preload.APP
            else "each process will import the application itself, which costs memory and time"
        )
        yield f"--preload {config.preload}: {unsafe}; {then}. Create it in lifespan startup instead"


def worker_warnings(config: Config) -> Iterator[str]:
    allowed, why = resolve_workers(msgspec.structs.replace(config, workers="auto"))
    if config.workers != "auto" and config.workers > allowed:
        yield f"--workers {config.workers} is more than this machine supports: {allowed} ({why})"


def descriptor_warnings(config: Config, expected: Expectations, limit: int) -> Iterator[str]:
    needed = expected.streams // config.pools + SPARE_DESCRIPTORS
    if limit not in (-1, resource.RLIM_INFINITY) and limit < needed:
        yield (
            f"the limit of open files per process is {limit}, but {expected.streams} streams in {config.pools} pool(s) "
            f"need about {needed}: raise `ulimit -n` (LimitNOFILE= in systemd)"
        )


def unix_socket_warnings(config: Config) -> Iterator[str]:
    mode = int(config.unix_mode, 8)
    paths = [bind.path for bind in map(parse_bind, config.bind) if isinstance(bind, UnixBind)]
    for path in paths:
        if not mode & 0o222:
            yield f"--unix-mode {config.unix_mode}: only root can connect to {path}; connecting needs the w bit"
        elif not mode & 0o022:
            yield (
                f"--unix-mode {config.unix_mode}: only user {os.geteuid()} and root can connect to {path}; a proxy "
                "that runs as another user can't (use 0660 and a common group, or 0666)"
            )
        yield from _closed_folders(Path(path))


def _closed_folders(path: Path) -> Iterable[str]:
    for folder in path.absolute().parents:
        try:
            mode = folder.stat().st_mode
        except OSError as error:
            yield f"--bind unix:{path}: {folder}: {error.strerror}"
            return
        if not stat.S_IMODE(mode) & 0o011:
            yield f"--bind unix:{path}: only its owner may enter {folder}, so no other user can connect"
            return
