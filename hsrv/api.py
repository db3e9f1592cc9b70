"""hsrv from Python.

import hsrv

if __name__ == "__main__":
    hsrv.run("main:app", workers=4)
"""

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

from hsrv.app.apptarget import being_imported, import_string, name_in, resolve_target, source_of
from hsrv.app.preload import is_library
from hsrv.common.asgi import AnyApplication
from hsrv.common.errors import AppLoadError, ConfigError, ExitCode, HsrvError
from hsrv.options.config import Config
from hsrv.sources.layers import Sources
from hsrv.sources.sources import load_config
from hsrv.starting import report, serve
from hsrv.system import blockedsignals
from hsrv.system.standardfiles import open_missing


def run(app: str | AnyApplication | None = None, *, config_file: str | None = None, **options: Any) -> None:
    """Serve until told to stop. Returns after a stop in which everything ended within its budget; otherwise prints the
    error and raises SystemExit with one of the exit codes in the README, as the command does.

    `app`: an import string, or an object at the top level of a module that can be imported by name; if that is the
    running script, the call must be below `if __name__ == "__main__":`. `options`: those of `hsrv.Config`; they take
    precedence over file and environment. Without `app_dir`, modules are searched where this process would find them.
    Must be called in the main thread, outside of an event loop: otherwise raises ConfigError.
    """
    if being_imported.get():
        raise AppLoadError(
            'hsrv.run() was called while the application was imported: put it below `if __name__ == "__main__":`'
        )
    _check_caller()
    open_missing()
    try:
        code = serve(*_configure(app, config_file, options))
    except HsrvError as error:
        code = report(error)
    finally:
        blockedsignals.discard_pending()
        blockedsignals.unblock()
    if code is not ExitCode.OK:
        raise SystemExit(int(code))


def _check_caller() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("run(): must be called in the main thread, because only it gets signals")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigError("run(): has its own event loop, so it can't be called inside of one")


def _configure(
    app: str | AnyApplication | None, config_file: str | None, options: dict[str, Any]
) -> tuple[Config, Sources]:
    given = options if app is None else {**options, "app": _name(app)}
    config, sources = load_config(given, config_file=config_file, flag="run({}=...)")
    if config.app is None or sources["app_dir"] != "default":
        return config, sources
    folder = _folder_of(resolve_target(config).module)
    if folder is None:
        return config, sources
    return load_config({**given, "app_dir": folder}, config_file=config_file, flag="run({}=...)")


def _name(app: str | AnyApplication) -> str:
    """The import string for other processes. Raises ConfigError if there is none."""
    try:
        return import_string(app)
    except ValueError as error:
        name = name_in(sys.modules["__main__"], app)
        if name is None:
            raise ConfigError(f"run(): {error}") from None
        return f"{_module_of_script()}:{name}"


def _module_of_script() -> str:
    """The name under which the running script can be imported. Raises ConfigError."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if file is None or not Path(file).is_file():  # a prompt, -c, standard input
        raise ConfigError("run(): other processes can't import code typed at a prompt: put it into a file")
    script = Path(file)
    if script.suffix != ".py" or not script.stem.isidentifier():
        raise ConfigError(
            f"run(): {script.name} can't be imported as a module: rename it, or move the application"
        )
    return script.stem


def _folder_of(module: str) -> str | None:
    """The directory where this process finds the module, if it is the user's; None: installed, or not found."""
    top = [module.partition(".")[0]]
    folder = next((Path(entry) for entry in sys.path if source_of(top, Path(entry)) is not None), None)
    return None if folder is None or is_library(folder) else str(folder.resolve())
