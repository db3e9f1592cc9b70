"""Imports libraries before the fork: finds those that an application uses by reading its sources."""

import ast
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from hsrv.logs.logging import get_logger

log = get_logger("hsrv.template")


def import_libraries(import_string: str, app_dir: str) -> int:
    """Import what `third_party_modules` finds. Returns how many were imported."""
    count = 0
    for name in third_party_modules(import_string, app_dir):
        try:
            importlib.import_module(name)
            count += 1
        except (
            Exception,
            SystemExit,
        ) as error:  # a library's: if it matters, importing the application reports it
            log.debug("library not preloaded", module=name, error=repr(error))
    return count


@dataclass(frozen=True)
class _Own:
    """A module of the user: read, never run."""

    name: str
    path: Path

    @property
    def package(self) -> list[str]:
        parts = self.name.split(".")
        return parts if self.path.name == "__init__.py" else parts[:-1]


def third_party_modules(import_string: str, app_dir: str) -> list[str]:
    """The libraries that the application's own modules import at their top level, in the order found.

    Libraries are the standard library and installed packages; every other module is the user's, wherever it is (an
    editable install, a sibling directory), and so is the whole package of the application. Read from the sources: no
    code of the application runs. Other imports (inside functions, by computed names) are not preloaded.
    """
    folder = str(Path(app_dir).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found: dict[str, None] = {}
    seen: set[str] = set()
    target = import_string.partition(":")[0]
    queue = _with_parents(target)
    for name in queue:  # grows meanwhile
        if name in seen:
            continue
        seen.add(name)
        spec = _find(name)
        if spec is None:
            continue  # an attribute, or not installed: the import reports it
        if _is_library_module(spec) and name.partition(".")[0] != target.partition(".")[0]:
            found[name] = None
        elif spec.origin is not None and spec.origin.endswith(".py"):
            queue.extend(_imports(_Own(name, Path(spec.origin))))
    return list(found)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _find(name: str) -> ModuleSpec | None:
    """Where the module is, without importing its parents as `importlib.util.find_spec` does."""
    search: list[str] | None = None
    spec: ModuleSpec | None = None
    for part in _with_parents(name):
        try:
            spec = importlib.util.find_spec(part) if search is None else PathFinder.find_spec(part, search)
        except (ImportError, ValueError):  # ValueError: in sys.modules without a spec, like __main__
            return None
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or ())
    return spec


def _is_library_module(spec: ModuleSpec) -> bool:
    if spec.origin in ("built-in", "frozen"):
        return True
    return spec.origin is not None and is_library(Path(spec.origin))


def is_library(path: Path) -> bool:
    """Whether a file or directory belongs to the standard library or to an installed package."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _library_folders())


@cache
def _library_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[key]) for key in ("stdlib", "platstdlib", "purelib", "platlib")})


def _imports(module: _Own) -> Iterator[str]:
    try:
        tree = ast.parse(module.path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # the import reports it
    for node in _running(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, module.package)
            if source:
                yield from _with_parents(source)
                yield from (f"{source}.{alias.name}" for alias in node.names)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported. Imports inside functions are left out: they are slow, optional or
    circular."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and _is_elsewhere(child.test):
            for statement in child.orelse:
                yield statement
                yield from _running(statement)
            continue
        yield child
        yield from _running(child)


def _is_elsewhere(test: ast.expr) -> bool:
    """`if TYPE_CHECKING:` and `if __name__ == "__main__":` are true only for type checkers and scripts."""
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _absolute(node: ast.ImportFrom, package: list[str]) -> str:
    if not node.level:
        return node.module or ""
    if node.level > len(package):
        return ""  # above the top level: the import reports it
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])
