"""From an import string to an application, with readable error messages.

Runs the application's import code: never imported by the supervisor.
"""

import difflib
import importlib
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final

from hsrv.app.apptarget import DISCOVERED_ATTRIBUTES, AppTarget, being_imported, resolve_target
from hsrv.app.interface import could_be_wsgi, interface_of, is_async, is_wsgi, takes
from hsrv.common.asgi import Application
from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Interface
from hsrv.logs import logconfig
from hsrv.options.config import Config

_OURS: Final = Path(__file__).parent.parent
_ASGI_2: Final = "as ASGI 2 does. Wrap it: asgiref.compatibility.guarantee_single_callable"


@dataclass(frozen=True)
class LoadedApp:
    """An application, and where it was found."""

    app: Application
    """Or a callable of WSGI."""
    import_string: str
    interface: Interface = Interface.ASGI


def load_app(config: Config) -> LoadedApp:
    """Import the application that the configuration names. Raises AppLoadError."""
    token = being_imported.set(True)
    try:
        return _load(config)
    finally:
        being_imported.reset(token)


def _load(config: Config) -> LoadedApp:
    folder = str(Path(config.app_dir).resolve())
    if sys.path[:1] != [
        folder
    ]:  # also if it is further back: a module of the same name before it would be imported
        sys.path.insert(0, folder)
    if config.log_config is not None:
        _configure_logging(config.log_config)
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
    interface = config.interface
    if interface is Interface.AUTO:
        interface = interface_of(app)
    if interface is Interface.WSGI:
        _check_wsgi(app, name)
    else:
        _check(app, name)
    return LoadedApp(app, name, interface)


def _configure_logging(path: str) -> None:
    try:
        logconfig.apply(path)
    except Exception as error:  # foreign code: classes that the file names
        why = f"{error}: {error.__cause__}" if error.__cause__ is not None else str(error)
        raise AppLoadError(f"--log-config {path}: {why}") from error


def _import(target: AppTarget, folder: str) -> ModuleType:
    failed = f"{target.module} can't be imported: "
    try:
        return importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{target.module}.".startswith(f"{error.name}."):
            raise AppLoadError(
                f"no module named {error.name!r} in {folder} or the environment"
                f"{_similar_module(error.name, Path(folder))} (--app-dir sets the directory)"
            ) from error
        raise _failed(f"{failed}{error}", error) from error
    except SyntaxError as error:
        raise _failed(f"{failed}{error.msg} ({error.filename}, line {error.lineno})", error) from error
    except (Exception, SystemExit) as error:  # the application's own module code
        raise _failed(f"{failed}{type(error).__name__}: {error}", error) from error


def _similar_module(name: str, folder: Path) -> str:
    *parents, last = name.split(".")
    there = folder.joinpath(*parents)
    known = [path.stem for path in there.iterdir() if path.suffix == ".py"] if there.is_dir() else []
    close = difflib.get_close_matches(last, known, n=1)
    return f"; did you mean {'.'.join([*parents, close[0]])!r}?" if close else ""


def _attribute(module: ModuleType, target: AppTarget) -> Any:
    found: Any = module
    path = target.module
    for name in target.attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            hint = _similar_attribute(found, name) or _others(module)
            raise AppLoadError(f"{path} has no attribute {name!r}{hint}") from error
        except (Exception, SystemExit) as error:  # the application's own property or __getattr__
            raise _failed(f"{path}.{name} raised {type(error).__name__}: {error}", error) from error
        path += f".{name}"
    return found


def _similar_attribute(owner: Any, name: str) -> str:
    close = difflib.get_close_matches(name, dir(owner), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _others(module: ModuleType) -> str:
    names = _applications(module)
    return f"; {module.__name__} has {', '.join(names)}" if names else ""


def _only_application(module: ModuleType) -> tuple[str, Any]:
    """The application of a discovered module: by its usual names, or its only one."""
    for name in DISCOVERED_ATTRIBUTES:
        value = vars(module).get(name)
        if value is not None and not isinstance(value, ModuleType):
            return f"{module.__name__}:{name}", value
    names = _applications(module)
    if len(names) == 1:
        return f"{module.__name__}:{names[0]}", getattr(module, names[0])
    what = f"several applications ({', '.join(names)})" if names else "no application of ASGI or WSGI"
    raise AppLoadError(
        f"{module.__name__} has none of the attributes {', '.join(DISCOVERED_ATTRIBUTES)}, and {what}. "
        f"Give it: hsrv start {module.__name__}:ATTRIBUTE"
    )


def _applications(module: ModuleType) -> list[str]:
    found: dict[int, str] = {}  # by identity: one application may have several names
    for name, value in vars(module).items():
        if not name.startswith("_") and _is_application_of(module, value):
            found.setdefault(id(value), name)
    return list(found.values())


def _is_application_of(module: ModuleType, value: Any) -> bool:
    """Whether it is certainly an application: a coroutine function of three parameters defined in this module, or an
    object whose __call__ is such a function; or an object whose __call__ has the parameters of WSGI by name. An
    imported function, and a plain function of two arguments, may have another purpose."""
    if inspect.isclass(value):
        return False
    if inspect.isfunction(value):
        return value.__module__ == module.__name__ and is_async(value) and takes(value, 3)
    return (is_async(value) and takes(value, 3)) or (is_wsgi(value) and _names_start_response(value))


def _names_start_response(value: Any) -> bool:
    try:
        return "start_response" in inspect.signature(value).parameters
    except (TypeError, ValueError):
        return False


def _call(factory: Any, name: str) -> Any:
    if not callable(factory):
        raise AppLoadError(f"{name} is not a factory: {type(factory).__name__} can't be called")
    if not takes(factory, 0):
        if takes(factory, 3) or is_wsgi(factory):
            raise AppLoadError(
                f"the factory {name} needs arguments: it seems to be the application itself, so omit "
                "--factory or ()"
            )
        raise AppLoadError(f"the factory {name} needs arguments: {inspect.signature(factory)}")
    try:
        app = factory()
    except (Exception, SystemExit) as error:  # the application's own factory
        raise _failed(f"the factory {name} raised {type(error).__name__}: {error}", error) from error
    if inspect.iscoroutine(app):
        app.close()
        raise AppLoadError(
            f"the factory {name} is async: it must be a plain function that returns the application"
        )
    return app


def _check_wsgi(app: Any, name: str) -> None:
    """Raise AppLoadError unless it can be called as WSGI calls."""
    if not callable(app):
        raise AppLoadError(f"{name} is not an application: {type(app).__name__} can't be called")
    if not could_be_wsgi(app):
        raise AppLoadError(
            f"{name} is not a WSGI application (--interface wsgi): it is not a plain callable of two arguments, "
            "environ and start_response"
        )


def _check(app: Any, name: str) -> None:
    """Raise AppLoadError unless it looks like ASGI 3.

    A plain function of three arguments passes: a wrapper may return the awaitable of the wrapped function.
    """
    if not callable(app):
        raise AppLoadError(f"{name} is not an application: {type(app).__name__} can't be called")
    if inspect.isclass(app):
        _check_class(app, name)
    elif inspect.isasyncgenfunction(app):
        raise AppLoadError(f"{name} is not an application: it contains yield, so it can't be awaited")
    elif not takes(app, 3):
        raise AppLoadError(f"{name} {_what_else(app, name)}")


def _check_class(app: type, name: str) -> None:
    if hasattr(app, "__await__") and takes(app, 3):
        return  # calling it returns an awaitable, as a coroutine function does
    if takes(app, 1) and not takes(app, 0):
        raise AppLoadError(f"{name} is a class that takes one argument, {_ASGI_2}")
    raise AppLoadError(
        f"{name} is a class, not an application: give an instance of it, or {name}() to create one"
    )


def _what_else(app: Any, name: str) -> str:
    """Explain what a callable that doesn't take three arguments may be."""
    if takes(app, 2) and not is_async(app):
        return "takes 2 arguments, as WSGI does: --interface auto or wsgi"
    if takes(app, 0):
        return f"takes no arguments: a factory? Then: hsrv start --factory, or {name}()"
    if takes(app, 1):
        return f"takes one argument, {_ASGI_2}"
    return "is not an ASGI application: it doesn't take scope, receive and send"


def _failed(message: str, error: BaseException) -> AppLoadError:
    return AppLoadError(
        message, "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__)))
    )


def _theirs(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from the application's first frame on; hsrv's own frames are of no use."""
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
