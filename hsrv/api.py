"""hsrv from Python.

import hsrv

if __name__ == "__main__":
    hsrv.run("main:app", workers=4)
"""

import sys
from pathlib import Path
from typing import Any

from hsrv.apptarget import import_string
from hsrv.asgi import Application
from hsrv.cli import report, serve
from hsrv.errors import ConfigError, ExitCode, HsrvError
from hsrv.sources import load_config


def run(app: str | Application | None = None, **options: Any) -> ExitCode:
    """Serve until told to stop; the exit code, whose meaning the README tells.

    `app`: an import string, or an object at the top of a module that can be imported again by name: also of the script
    that is running, whose call then stands behind `if __name__ == "__main__":`. `options`: those of `hsrv.Config`;
    file and environment count too, below them. Raises ConfigError; any other failure is printed as the command does.
    """
    if app is not None:
        options.update(_application(app, options))
    config, _ = load_config(options, flag="run({}=...)")
    try:
        return serve(config)
    except HsrvError as error:
        return report(error)


def _application(app: str | Application, options: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"app": import_string(app)}
    except ValueError as error:
        found = _in_script(app)
        if found is None:
            raise ConfigError(f"run(): {error}") from None
        return {"app_dir": options.get("app_dir", found[0]), "app": found[1]}


def _in_script(app: Any) -> tuple[str, str] | None:
    """Folder and import string of an object in the running script, which other processes import as a module."""
    main = sys.modules["__main__"]
    name = next((name for name, value in vars(main).items() if value is app), None)
    if name is None or getattr(main, "__file__", None) is None:
        return None
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return ".", f"{spec.name}:{name}"
    script = Path(main.__file__ or "").resolve()
    return (str(script.parent), f"{script.stem}:{name}") if script.stem.isidentifier() else None
