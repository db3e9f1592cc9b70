"""Determines which application to load, without importing it, so that the supervisor may do it too.

Looks at file names and reads sources; runs no code.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Interface
from hsrv.options.config import Config

DISCOVERED_MODULES: Final = ("main", "app", "asgi", "wsgi")
INTERFACE_MODULES: Final = ("asgi", "wsgi")
"""What Django's startproject puts into the project's package: both."""
DISCOVERED_ATTRIBUTES: Final = ("app", "application", "asgi")

ALLOWED: Final = "module:attribute, module:factory() or a dotted attribute"

being_imported: ContextVar[bool] = ContextVar("being_imported", default=False)
"""Whether the application's module code is running: `hsrv.run()` in it would start servers recursively."""

_OTHER_SCOPES: Final = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


@dataclass(frozen=True)
class AppTarget:
    """Where to find the application."""

    module: str
    attribute: str
    """Dotted; "" when it must be discovered in the module."""
    call: bool
    """The attribute is a factory: call it without arguments."""
    how_found: str
    """For people; "" when it was given by name."""

    @property
    def import_string(self) -> str:
        """`module:attribute`, `module:attribute()`, or `module` alone if the attribute is only known after the
        import."""
        return f"{self.module}:{self.attribute}{'()' if self.call else ''}" if self.attribute else self.module


def of_pool(config: Config) -> Config:
    """The configuration as the pool sees it: `--pool-app` is its application, if there is one."""
    if config.pool_app is None:
        return config
    return msgspec.structs.replace(config, app=config.pool_app, factory=False, interface=Interface.AUTO)


def resolve_target(config: Config) -> AppTarget:
    """The application that the configuration names, or the first that discovery finds. Raises AppLoadError."""
    folder = Path(config.app_dir)
    if config.app is None:
        return _discover(folder, config)
    text = config.app.strip()
    path = text.removesuffix("()")
    module, colon, attribute = path.partition(":")
    parts = [*module.split("."), *(attribute.split(".") if colon else ())]
    if not all(name.isidentifier() for name in parts) or (folder / module).is_file():
        raise _names_none(text, _meant(module, attribute))
    if not colon:
        module, attribute = _split(parts, folder)
    if text != path and not attribute:
        raise _names_none(text, "")
    if not attribute and (found := _of_package(folder, module, config)) is not None:
        return found
    return AppTarget(module, attribute, config.factory or text != path, "")


def _names_none(text: str, hint: str) -> AppLoadError:
    return AppLoadError(f"{text!r} is not an application; allowed: {ALLOWED}{hint}")


def _meant(module: str, attribute: str) -> str:
    """A suggestion for a given file name."""
    dotted = ".".join(part for part in module.removesuffix(".py").split("/") if part not in (".", ""))
    if dotted == module or not all(name.isidentifier() for name in dotted.split(".")):
        return ""
    return f"; did you mean {dotted}:{attribute or 'app'}?"


def source_of(names: Sequence[str], folder: Path) -> Path | None:
    """The file of the module with these names below `folder`; None if there is none."""
    base = folder.joinpath(*names)
    candidates = (base / "__init__.py", base.with_name(f"{base.name}.py"))  # in the import system's order
    return next((path for path in candidates if path.is_file()), None)


def _split(names: list[str], folder: Path) -> tuple[str, str]:
    """Module and attribute of a dotted name: the longest prefix for which there is a file is the module. Installed
    modules are not searched: for them the last name is the attribute."""
    for count in range(len(names), 0, -1):
        if source_of(names[:count], folder) is not None:
            return ".".join(names[:count]), ".".join(names[count:])
    return (".".join(names[:-1]), names[-1]) if len(names) > 1 else (names[0], "")


# discovery


def _discover(folder: Path, config: Config) -> AppTarget:
    """The first module that binds a usual name; else what a Django project has; else the first module that exists: its
    import may find the application."""
    names = _ordered(DISCOVERED_MODULES, config)
    there = {name: path for name in names if (path := source_of([name], folder)) is not None}
    for name, path in there.items():
        bound = _bound_names(path)
        if bound is None:
            break  # the operator must see its error
        attribute = _usual_name(bound)
        if attribute is not None:
            return AppTarget(name, attribute, config.factory, _how_found(folder, name, path))
    else:
        for package in _django_packages(folder):
            if (found := _of_package(folder, package, config)) is not None:
                return found
    for name, path in there.items():
        return AppTarget(name, "", config.factory, f"found in {path}")
    looked = ", ".join(f"{name}.py, {name}/" for name in DISCOVERED_MODULES)
    raise AppLoadError(
        f"no application given and none found: looked for {looked} in {folder.resolve()}, and for */asgi.py and "
        "*/wsgi.py beside a manage.py. Give it: hsrv start MODULE:ATTRIBUTE"
    )


def _usual_name(bound: set[str]) -> str | None:
    return next((attribute for attribute in DISCOVERED_ATTRIBUTES if attribute in bound), None)


def _ordered(names: Sequence[str], config: Config) -> list[str]:
    """ASGI first, which serves everything, unless the operator wants WSGI."""
    last = "asgi" if config.interface is Interface.WSGI else "wsgi"
    return sorted(names, key=lambda name: name == last)


def _of_package(folder: Path, package: str, config: Config) -> AppTarget | None:
    """The application in the asgi.py or wsgi.py of a package, unless it has one itself."""
    parts = package.split(".")
    path = source_of(parts, folder)
    if path is not None and (path.name != "__init__.py" or _usual_name(_bound_names(path) or set())):
        return None
    for name in _ordered(INTERFACE_MODULES, config):
        source = source_of([*parts, name], folder)
        if source is not None:
            attribute = _usual_name(_bound_names(source) or set()) or ""
            how = _how_found(folder, f"{package}.{name}", source)
            return AppTarget(f"{package}.{name}", attribute, config.factory, how)
    return None


def _how_found(folder: Path, module: str, path: Path) -> str:
    """Where, and how to take the application of the other interface that lies beside it."""
    parent, _, name = module.rpartition(".")
    other = {"asgi": "wsgi", "wsgi": "asgi"}.get(name, "")
    names = [*(parent.split(".") if parent else ()), other]
    if not other or source_of(names, folder) is None:
        return f"found in {path}"
    both = [".".join([*names[:-1], kind]) for kind in ("wsgi", "asgi")]
    return (
        f"found in {path}; {other}.py is there as well: --interface {other} takes it, "
        f"`hsrv start {both[0]} --pool-app {both[1]}` both"
    )


def _django_packages(folder: Path) -> list[str]:
    """Packages beside a manage.py, first those that it names: one of them has the settings."""
    try:
        text = (folder / "manage.py").read_text("utf-8", "replace")
    except OSError:
        return []
    names = [path.name for path in sorted(folder.iterdir()) if path.name.isidentifier() and path.is_dir()]
    return sorted(names, key=lambda name: f"{name}." not in text)


def _bound_names(path: Path) -> set[str] | None:
    """Names that the module's top level assigns, defines or imports; None if it can't be read."""
    try:
        return set(_bound(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError, OSError):
        return None


def _bound(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.ImportFrom(module=str(), names=aliases):  # `from . import app` binds a module
                yield from (alias.asname or alias.name for alias in aliases)
        if not isinstance(child, _OTHER_SCOPES):
            yield from _bound(child)


# from an object to its name


def import_string(app: object) -> str:
    """The import string of an application. Raises ValueError if no other process could import it."""
    if isinstance(app, str):
        return app
    if not callable(app):  # else it could be found by accident: small numbers are in many modules
        raise ValueError(f"{app!r} is not an application: {type(app).__name__} can't be called")
    # An instance knows the module of its class, not its own.
    for module in (getattr(app, "__module__", None), *list(sys.modules)):
        if isinstance(module, str) and module != "__main__":
            name = name_in(sys.modules.get(module), app)
            if name is not None:
                return f"{module}:{name}"
    raise ValueError(f"{app!r} is not at the top level of an importable module: give its import string")


def name_in(module: object, app: object) -> str | None:
    """The name of `app` at the top level of `module`."""
    names = dict(vars(module)) if isinstance(module, ModuleType) else {}
    return next((name for name, value in names.items() if value is app and name.isidentifier()), None)
