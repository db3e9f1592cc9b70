"""The supervisor process: from a configuration to an exit code."""

import sys
from collections.abc import Mapping

import anyio
import msgspec
from setproctitle import setproctitle

from hsrv import logging
from hsrv.apptarget import resolve_target
from hsrv.config import Config
from hsrv.cpus import resolve_workers
from hsrv.errors import ExitCode
from hsrv.platform import become_subreaper, check_supported
from hsrv.supervisor.banner import Banner
from hsrv.supervisor.listeners import close_listeners, open_listeners
from hsrv.supervisor.supervisor import Supervisor


def run(config: Config, sources: Mapping[str, str] | None = None) -> ExitCode:
    """Serve until told to stop. Before anything runs it raises BindError, AppLoadError (nothing found) and
    PlatformError."""
    check_supported()
    workers, why = resolve_workers(config)
    config = msgspec.structs.replace(config, workers=workers)
    target = resolve_target(config)
    logging.setup(config, None)
    listeners = open_listeners(config.bind, backlog=config.backlog, unix_mode=int(config.unix_mode, 8))
    try:
        setproctitle("hsrv: supervisor")
        become_subreaper()
        banner = Banner(config, workers_why=why, app_found=target.how_found)
        return anyio.run(Supervisor(config, listeners, banner).run)
    finally:
        close_listeners(listeners)
        sys.stderr.flush()
