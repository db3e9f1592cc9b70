"""What a template imports before it forks, and whether it may fork afterwards."""

import ast
import gc
import importlib.util
import os
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType
from typing import Final

THREAD_END: Final = 0.5
"""Seconds for threads that Python has joined to end in the kernel, too: join() returns a moment earlier."""


# what to import


@dataclass(frozen=True)
class _Own:
    """A module of the user's: read, never run."""

    name: str
    path: Path

    @property
    def package(self) -> list[str]:
        parts = self.name.split(".")
        return parts if self.path.name == "__init__.py" else parts[:-1]


def third_party_modules(import_string: str, app_dir: str) -> list[str]:
    """The libraries that the application's own modules import at their top level, in the order met.

    Libraries are the standard library and what is installed; every other module is the user's, wherever it stands
    (an editable install, a sibling folder), and so is all of the package that holds the application. Read from the
    sources: none of the application's code runs. What it imports in other ways (inside functions, by computed names) is
    simply not preloaded.
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
            continue  # an attribute, or not installed: the import will tell
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
    """Whether a file or folder belongs to the standard library or to what is installed."""
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
        return  # the import will tell
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
    """What runs when the module is imported. Imports inside functions wait there for a reason: they are slow,
    optional or circular."""
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
    """`if TYPE_CHECKING:` and `if __name__ == "__main__":` hold for type checkers and for scripts."""
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _absolute(node: ast.ImportFrom, package: list[str]) -> str:
    if not node.level:
        return node.module or ""
    if node.level > len(package):
        return ""  # above the top: the import will tell
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


# whether to fork


def unsafe_to_fork(allowed: set[int]) -> str | None:
    """Why this process should not fork: threads beside the main one, or sockets other than `allowed`; None if it may.

    A thread doesn't exist in the child, but the locks it held do; a socket would be shared by all children.
    """
    if _threads() or _other_tasks() or any(fd not in allowed for fd in _sockets()):
        gc.collect()  # closes and ends those that nobody can reach any more
    threads = _threads()
    if threads:
        return f"importing the application started threads: {_listed([_described(t) for t in threads])}"
    if native := _native_threads():
        return f"importing the application left native threads: {_listed(native)}"
    sockets = [fd for fd in _sockets() if fd not in allowed]
    if sockets:
        return f"importing the application left sockets open: {_listed([_described_socket(fd) for fd in sockets])}"
    return None


def _threads() -> list[threading.Thread]:
    """Of Python, beside the main one, once those that are about to end had the time to."""
    deadline = time.monotonic() + THREAD_END
    while True:
        threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
        if not threads or time.monotonic() > deadline:
            return threads
        threads[0].join(0.01)


def _listed(texts: list[str], most: int = 5) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _described(thread: threading.Thread) -> str:
    """Its name and what it runs."""
    frame = sys._current_frames().get(thread.ident or 0)
    outermost: FrameType | None = None
    while frame is not None:
        if frame.f_code.co_filename != threading.__file__:
            outermost = frame
        frame = frame.f_back
    if outermost is None:
        return thread.name
    return f"{thread.name} ({outermost.f_code.co_qualname} in {outermost.f_code.co_filename})"


def _native_threads() -> list[str]:
    """Names of threads that Python doesn't know, once those that are about to end had the time to."""
    deadline = time.monotonic() + THREAD_END
    while (names := _other_tasks()) and time.monotonic() < deadline:
        time.sleep(0.01)  # nothing tells of the end of a kernel thread that was joined
    return names


def _other_tasks() -> list[str]:
    names = []
    for task in _entries("/proc/self/task"):
        try:
            if int(task.name) != os.getpid():
                names.append((task / "comm").read_text().strip())
        except OSError:
            continue  # it has just ended
    return names


def _entries(folder: str) -> list[Path]:
    try:
        return list(Path(folder).iterdir())
    except OSError:
        return []  # no /proc: not Linux


def _sockets() -> Iterator[int]:
    for entry in _entries("/proc/self/fd"):
        try:
            if int(entry.name) > 2 and str(entry.readlink()).startswith("socket:"):
                yield int(entry.name)
        except OSError:
            continue  # the descriptor of the listing itself


def _described_socket(fd: int) -> str:
    """Its descriptor, kind and ends."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return f"descriptor {fd}"
    try:
        ends = [_end("at", sock.getsockname), _end("to", sock.getpeername)]
        kind = f"{_name(sock.family)} {_name(sock.type)}"
    finally:
        sock.detach()  # the descriptor isn't ours
    return f"descriptor {fd} ({' '.join(part for part in [kind, *ends] if part)})"


def _name(kind: object) -> str:
    return str(getattr(kind, "name", kind))  # a plain int where Python knows no name


def _end(word: str, name: Callable[[], object]) -> str:
    try:
        address = name()
    except OSError:
        return ""  # not connected
    if isinstance(address, tuple):
        return f"{word} {address[0]}:{address[1]}"
    return f"{word} {address!r}" if address else ""
