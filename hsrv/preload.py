"""What a template imports before it forks, and whether it may fork afterwards."""

import ast
import importlib.util
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path


def third_party_modules(import_string: str, app_dir: str) -> list[str]:
    """The modules outside of `app_dir` that the application's own modules import, in the order met.

    Read from the sources; none of the application's code runs. What it imports in other ways is simply not preloaded.
    """
    folder = Path(app_dir).resolve()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    found: dict[str, None] = {}
    seen: set[Path] = set()
    queue = [import_string.partition(":")[0]]
    while queue:
        path = _own_source(queue.pop(0), folder)
        if path is None or path in seen:
            continue
        seen.add(path)
        for name in _imports(path, folder):
            if _own_source(name, folder) is not None:
                queue.append(name)
            elif name.partition(".")[0] not in found and _exists(name):
                found[name] = None
    return list(found)


def _own_source(name: str, folder: Path) -> Path | None:
    base = folder.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file() and "site-packages" not in path.parts:
            return path
    return None


def _imports(path: Path, folder: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # the import will tell
    package = ".".join(path.relative_to(folder).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            if module:
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _exists(name: str) -> bool:
    """Whether the name is a module, asked without importing its parents."""
    try:
        if "." not in name:
            return importlib.util.find_spec(name) is not None
        parent, _, leaf = name.rpartition(".")
        spec = _find(parent)
        return (
            spec is not None
            and spec.submodule_search_locations is not None
            and any(
                (Path(where) / f"{leaf}.py").is_file() or (Path(where) / leaf / "__init__.py").is_file()
                for where in spec.submodule_search_locations
            )
        )
    except (ImportError, ValueError, AttributeError):
        return False


def _find(name: str) -> ModuleSpec | None:
    if "." not in name:
        return importlib.util.find_spec(name)
    parent, _, leaf = name.rpartition(".")
    spec = _find(parent)
    for where in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(where) / leaf / "__init__.py"
        if path.is_file():
            return importlib.util.spec_from_file_location(
                name, path, submodule_search_locations=[str(path.parent)]
            )
    return None


def unsafe_to_fork(allowed: set[int]) -> str | None:
    """Why this process should not fork: threads beside the main one, or sockets other than `allowed`; None if it may.

    A thread doesn't exist in the child, but the locks it held do; a socket would be shared by all children.
    """
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        return f"importing the application started threads: {', '.join(threads[:5])}"
    if (native := _native_threads()) > 1:
        return f"importing the application left {native - 1} native threads"
    sockets = [fd for fd in _sockets() if fd not in allowed]
    if sockets:
        return f"importing the application left sockets open: descriptors {', '.join(map(str, sockets[:5]))}"
    return None


def _native_threads() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1


def _sockets() -> Iterator[int]:
    try:
        entries = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            if int(entry.name) > 2 and str(entry.readlink()).startswith("socket:"):
                yield int(entry.name)
        except OSError:
            continue  # the descriptor of the listing itself
