"""The supervisor process: from a configuration to an exit code."""

import sys
from collections.abc import Callable, Mapping

import anyio
import msgspec
from setproctitle import setproctitle

from hsrv import logging
from hsrv.apptarget import resolve_target
from hsrv.config import Config
from hsrv.cpus import resolve_workers
from hsrv.errors import BindError, ExitCode
from hsrv.platform import become_subreaper, check_supported
from hsrv.supervisor.banner import Banner
from hsrv.supervisor.listeners import close_listeners, open_listeners
from hsrv.supervisor.operator import OperatorSocket
from hsrv.supervisor.supervisor import Supervisor

log = logging.get_logger("hsrv.supervisor")


def run(
    config: Config,
    sources: Mapping[str, str] | None = None,
    reread: Callable[[], Config] | None = None,
) -> ExitCode:
    """Serve until told to stop. Before anything runs it raises BindError, AppLoadError (nothing found) and
    PlatformError. `reread`: the configuration as it is now, for a reload; raises HsrvError."""
    check_supported()
    config, why = _with_workers(config)
    target = resolve_target(config)
    logging.setup(config, None)
    listeners = open_listeners(config.bind, backlog=config.backlog, unix_mode=int(config.unix_mode, 8))
    door: OperatorSocket | None = None
    try:
        door = open_door(config.run_dir)
        setproctitle("hsrv: supervisor")
        become_subreaper()
        where = str(door.path) if door is not None else ""
        banner = Banner(config, workers_why=why, app_found=target.how_found, operator=where)
        again = None if reread is None else lambda: _with_workers(reread())[0]
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


def open_door(run_dir: str | None) -> OperatorSocket | None:
    """Where operators come in. A place that was asked for must be had; without a usual one the server does without."""
    try:
        return OperatorSocket(run_dir)
    except BindError as error:
        if run_dir is not None:
            raise
        log.warning("no operator's socket", error=str(error), hint="name a directory with --run-dir")
        return None
