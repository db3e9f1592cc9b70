"""The supervisor process: from a configuration to an exit code."""

import os
import sys
from collections.abc import Callable, Mapping

import anyio
import msgspec
from setproctitle import setproctitle

from hsrv import logging, privileges, rundir
from hsrv.apptarget import resolve_target
from hsrv.config import Config
from hsrv.cpus import resolve_workers
from hsrv.errors import BindError, ExitCode
from hsrv.platform import become_subreaper, check_supported
from hsrv.supervisor.banner import Banner
from hsrv.supervisor.listeners import close_listeners, open_listeners
from hsrv.supervisor.observed import ObservedSupervisor, collectors_of
from hsrv.supervisor.operator import OperatorSocket
from hsrv.supervisor.supervisor import Supervisor

log = logging.get_logger("hsrv.supervisor")


def run(
    config: Config,
    sources: Mapping[str, str] | None = None,
    reread: Callable[[], Config] | None = None,
) -> ExitCode:
    """Serve until told to stop. Before anything runs it raises BindError, AppLoadError (nothing found), ConfigError
    (--user, --group) and PlatformError. `reread`: the configuration as it is now, for a reload; raises HsrvError."""
    check_supported()
    account = privileges.resolve(config.user, config.group)
    config, why = _with_workers(config)
    target = resolve_target(config)
    logging.setup(config, None)
    listeners = open_listeners(
        config.bind,
        backlog=config.backlog,
        unix_mode=int(config.unix_mode, 8),
        owner=(account.uid, account.gid) if account is not None else None,
    )
    door: OperatorSocket | None = None
    try:
        if account is not None:
            step_down(account, config.run_dir)
        if config.umask is not None:
            os.umask(int(config.umask, 8))
        door = open_door(config.run_dir)
        setproctitle("hsrv: supervisor")
        become_subreaper()
        collectors = collectors_of(config)
        where = str(door.path) if door is not None else ""
        banner = Banner(config, workers_why=why, app_found=target.how_found, operator=where)
        again = None if reread is None else lambda: _with_workers(reread())[0]
        if collectors is not None:
            return anyio.run(ObservedSupervisor(collectors, config, listeners, banner, door, again).run)
        return anyio.run(Supervisor(config, listeners, banner, door, again).run)
    finally:
        close_listeners(listeners)
        if door is not None:
            door.close()
        sys.stderr.flush()


def _with_workers(config: Config) -> tuple[Config, str]:
    """With a number of workers, and why so many."""
    workers, why = resolve_workers(config)
    return msgspec.structs.replace(config, workers=workers), why


def step_down(account: privileges.Account, run_dir: str | None) -> None:
    """Become who we are to be. What only root can do was done; the operator's socket is the new user's from its first
    moment on, in a directory that root makes for him."""
    if account.uid != os.geteuid():
        rundir.make_for(run_dir, account.uid, account.gid)
    privileges.become(account)
    log.info("privileges dropped", uid=account.uid, gid=account.gid, groups=list(account.groups))


def open_door(run_dir: str | None) -> OperatorSocket | None:
    """Where operators come in. A place that was asked for must be had; without a usual one the server does without."""
    try:
        return OperatorSocket(run_dir)
    except BindError as error:
        if run_dir is not None:
            raise
        log.warning("no operator's socket", error=str(error), hint="name a directory with --run-dir")
        return None
