"""Serving an application in this process: what `hsrv start` and `hsrv.run()` do, and how an error is told."""

import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from hsrv.common.errors import AppLoadError, ExitCode, HsrvError
from hsrv.common.visible import visible, visible_block
from hsrv.options.config import Config
from hsrv.sources.environment import FileEnvironment
from hsrv.sources.layers import Sources
from hsrv.sources.sources import load_config
from hsrv.system import blockedsignals
from hsrv.system.importing import few_collections
from hsrv.system.platform import check_supported

Reread = Callable[[Collection[str]], Config]
"""Reads the configuration again, without the variables of these names: those of the `--env-file`, which are the
application's, and no options at the start either."""

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended, as shells have it."""


def start(values: Mapping[str, Any], config_file: str | None) -> ExitCode:
    """`hsrv start` with these options from its command line."""
    read = partial(load_config, values, config_file=config_file)
    return serve(*read(), lambda but: read(but=but)[0])


def start_and_report(values: Mapping[str, Any], config_file: str | None) -> int:
    """The same, with every error told."""
    try:
        return start(values, config_file)
    except HsrvError as error:
        return report(error)
    except KeyboardInterrupt:  # before the supervisor handles signals
        return INTERRUPTED


def serve(config: Config, sources: Sources, reread: Reread | None = None) -> ExitCode:
    """Serve until told to stop. Raises HsrvError before anything runs. Signals are blocked until it serves, and after
    it has stopped serving (`hsrv.system.blockedsignals`)."""
    check_supported()
    blockedsignals.block()
    with few_collections():
        from hsrv.supervisor.main import run  # noqa: PLC0415  # imports what only POSIX has, after the check

    environment = FileEnvironment()
    environment.read(config)
    read_config = reread or (lambda but: config)
    again = None
    if reread is not None or config.env_file is not None:
        again = lambda: environment.read(read_config(environment.names))  # noqa: E731  # a name of its own says no more
    return run(config, sources, again, environment.names)


def report(error: HsrvError) -> ExitCode:
    """Print the error for people. Returns the exit code."""
    if isinstance(error, AppLoadError) and error.traceback:
        sys.stderr.write(f"{visible_block(error.traceback)}\n")
    sys.stderr.write("".join(f"hsrv: {visible(line)}\n" for line in str(error).splitlines()))
    return error.exit_code
