"""From an import string to an ASGI application, with failures that a person can read.

Runs the application's import code: never imported by the supervisor.
"""

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final

from hsrv.apptarget import DISCOVERED_ATTRIBUTES, AppTarget, resolve_target
from hsrv.asgi import Application
from hsrv.config import Config
from hsrv.errors import AppLoadError

_OURS: Final = Path(__file__).parent


@dataclass(frozen=True)
class LoadedApp:
    """An application, and where it was found."""

    app: Application
    import_string: str


def load_app(config: Config) -> LoadedApp:
    """Import the application that the configuration names. Raises AppLoadError."""
    folder = str(Path(config.app_dir).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    target = resolve_target(config)
    module = _import(target, folder)
    if target.attribute:
        app = _attribute(module, target)
        name = f"{target.module}:{target.attribute}"
    else:
        name, app = _only_application(module)
    if target.call:
        app = _call(app, name)
        name += "()"
    _check(app, name)
    return LoadedApp(app, name)


def _import(target: AppTarget, folder: str) -> ModuleType:
    try:
        return importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        if error.name is not None and (
            target.module == error.name or target.module.startswith(f"{error.name}.")
        ):
            raise AppLoadError(
                f"no module named {error.name!r} in {folder} or the environment (--app-dir says where to look)"
            ) from error
        raise _failed(f"{target.module} can't be imported: {error}", error) from error
    except SyntaxError as error:
        raise AppLoadError(
            f"{target.module} can't be imported: {error.msg} ({error.filename}, line {error.lineno})",
            "".join(traceback.format_exception_only(error)),
        ) from error
    except (Exception, SystemExit) as error:  # the application's own module code
        raise _failed(f"{target.module} can't be imported: {type(error).__name__}: {error}", error) from error


def _attribute(module: ModuleType, target: AppTarget) -> Any:
    found: Any = module
    for name in target.attribute.split("."):
        if not hasattr(found, name):
            close = difflib.get_close_matches(name, dir(found), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise AppLoadError(f"{target.module} has no attribute {target.attribute!r}{hint}")
        found = getattr(found, name)
    return found


def _only_application(module: ModuleType) -> tuple[str, Any]:
    """The application of a discovered module: by its usual names, or the only ASGI application it has."""
    for name in DISCOVERED_ATTRIBUTES:
        if hasattr(module, name):
            return f"{module.__name__}:{name}", getattr(module, name)
    found = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.isclass(value) and _asgi_call(value) is not None
    ]
    if len(found) == 1:
        return f"{module.__name__}:{found[0]}", getattr(module, found[0])
    what = f"several ASGI applications ({', '.join(found)})" if found else "no ASGI application"
    raise AppLoadError(
        f"{module.__name__} has none of the attributes {', '.join(DISCOVERED_ATTRIBUTES)}, and {what}. "
        f"Name it: hsrv start {module.__name__}:ATTRIBUTE"
    )


def _call(factory: Any, name: str) -> Any:
    if not callable(factory):
        raise AppLoadError(f"{name} is no factory: {type(factory).__name__} can't be called")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise AppLoadError(f"the factory {name} needs arguments: {error}") from error
    except ValueError:
        pass  # no signature to look at: a call will tell
    try:
        return factory()
    except (Exception, SystemExit) as error:  # the application's own factory
        raise _failed(f"the factory {name} raised {type(error).__name__}: {error}", error) from error


def _check(app: Any, name: str) -> None:
    """Raise AppLoadError unless it looks like ASGI 3."""
    if not callable(app):
        raise AppLoadError(f"{name} is no application: {type(app).__name__} can't be called")
    if inspect.isclass(app):
        raise AppLoadError(
            f"{name} is a class: an ASGI 2 application, or not an instance yet. For ASGI 2 wrap it: "
            "asgiref.compatibility.guarantee_single_callable"
        )
    try:
        signature = inspect.signature(app)
    except ValueError:
        return  # written in C: calling it will tell
    if _takes(signature, 3):
        return
    if _takes(signature, 2):
        raise AppLoadError(
            f"{name} takes 2 arguments, as WSGI does. Wrap it: asgiref.wsgi.WsgiToAsgi or a2wsgi.WSGIMiddleware"
        )
    if _takes(signature, 0):
        raise AppLoadError(f"{name} takes no arguments: a factory? Then: hsrv start --factory, or {name}()")
    raise AppLoadError(f"{name} is no ASGI application: it doesn't take scope, receive and send")


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _asgi_call(value: Any) -> Any:
    """The coroutine function of three arguments that `value` is, or has as its __call__."""
    function = value if inspect.isfunction(value) else getattr(type(value), "__call__", None)  # noqa: B004  # the method itself is wanted
    if function is None or not inspect.iscoroutinefunction(function):
        return None
    parameters = [p for p in inspect.signature(function).parameters if p != "self"]
    return function if len(parameters) == 3 else None


def _failed(message: str, error: BaseException) -> AppLoadError:
    return AppLoadError(
        message, "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__)))
    )


def _theirs(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from the application's first frame on: how we came there is of no use to anyone."""
    while tb is not None:
        filename = tb.tb_frame.f_code.co_filename
        if (
            not filename.startswith("<frozen importlib")
            and _OURS not in Path(filename).parents
            and ("importlib" not in Path(filename).parts)
        ):
            return tb
        tb = tb.tb_next
    return None
