"""Who may import whom (ARCHITECTURE.md). Read from the sources: nothing is imported here.

Folders import one way, in one order, and imports under TYPE_CHECKING count. For what a process may reach, what a module
reaches counts, not only what it names: a failure shows the way there.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
ROLES: Final = ("supervisor", "worker", "asyncpool")
"""Top-level folders, imported through the links in hsrv/ as hsrv.supervisor and so on."""

ORDER: Final = (
    "common",
    "options",
    "ipc",
    "logs",
    "sources",
    "system",
    "net",
    "rpc",
    "app",
    "develop",
    "board",
    "events",
    "http.wire",
    "http.request",
    "http",
    "wsgi",
    "status",
    "child",
    "serving",
    "worker",
    "asyncpool.websocket.codecs",
    "asyncpool.websocket",
    "asyncpool",
    "operate",
    "supervisor.plan",
    "supervisor.runtime",
    "supervisor.sockets",
    "supervisor.processes",
    "supervisor.health",
    "supervisor.hands",
    "supervisor.develop",
    "supervisor.operators",
    "supervisor.upgrade",
    "supervisor.reports",
    "supervisor.admin.http",
    "supervisor.admin.metrics",
    "supervisor.admin.dashboard",
    "supervisor.admin",
    "supervisor",
    "",
)
"""The folders below hsrv: each imports only from those before it. The last is hsrv itself: what users import."""

FILES_PER_FOLDER: Final = 14
"""What a reader can keep in mind. A folder with more has parts, which are folders."""

FACADES: Final = {"hsrv", "hsrv.events"}
"""Packages whose `__init__` holds more than a docstring: public names for users, whatever file they come from."""

PUBLIC: Final = {
    "hsrv",
    "hsrv.__main__",
    "hsrv.demo",
    "hsrv.events",
    "hsrv.otel",
    "hsrv.pytest_plugin",
    "hsrv.testing",
}
"""What the documentation names. It moves for no reason."""

CROSSINGS: Final = {("hsrv.starting", "hsrv.supervisor.main")}
"""Where the kernel starts the supervisor. The other roles are started by name: hsrv.child.template.ROLES."""

SEES_THE_APPLICATION: Final = {
    "hsrv.app.apploader",
    "hsrv.app.lifespan",
    "hsrv.child.life",
    "hsrv.child.template",
    "hsrv.common.asgi",
    "hsrv.http.connection",
    "hsrv.http.request.exchange",
    "hsrv.http.host",
    "hsrv.http.emitter",
    "hsrv.http.request.scope",
    "hsrv.net.eager",
    "hsrv.wsgi.call",
    "hsrv.wsgi.runner",
}
"""What the supervisor may not reach."""

PURE_FOLDERS: Final = ("common", "options", "http.wire", "status", "supervisor.plan")
"""Each module in them is pure. Elsewhere those are that say so: "Pure" in a module's docstring is a promise."""

IMPURE: Final = {
    "anyio",
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the product under the name it is imported by, each file once."""
    kernel = [path for path in (ROOT / "hsrv").rglob("*.py") if path.resolve().is_relative_to(ROOT / "hsrv")]
    found = {path.relative_to(ROOT): path for path in kernel}
    for role in ROLES:
        found |= {"hsrv" / path.relative_to(ROOT): path for path in (ROOT / role).rglob("*.py")}
    return {_name(relative): path for relative, path in found.items()}


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file imports when the program runs, also inside of functions."""
    return frozenset(_imports(_running(parsed(path))))


@cache
def names(path: Path) -> frozenset[str]:
    """The modules that a file knows: also those that it imports for their types."""
    return frozenset(_imports(ast.walk(parsed(path))))


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            members = {f"{source}.{alias.name}" for alias in node.names}
            yield from (members & modules().keys()) or {source}
            if not members <= modules().keys():
                yield source


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING:`, which imports nothing when the program runs."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _running(child)


def folder_of(module: str) -> str:
    """Of which folder below hsrv a module is; a package belongs to itself."""
    parts = module.split(".")[1:]
    package = modules()[module].name == "__init__.py"
    return ".".join(parts if package else parts[:-1])


@cache
def graph() -> dict[str, frozenset[str]]:
    """Every module of ours and those of ours that it knows. A package is no file of its own: it imports nothing."""
    return {name: names(path) & modules().keys() - {name} for name, path in modules().items()}


def circles(edges: Mapping[str, Iterable[str]]) -> set[frozenset[str]]:
    """Sets of nodes each of which leads to each other (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = set()

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in edges.get(node, ()):
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            begin = stack.index(node)
            if len(stack) - begin > 1:
                found.add(frozenset(stack[begin:]))
            del stack[begin:]

    for node in edges:
        if node not in index:
            visit(node)
    return found


def says(module: str) -> str:
    return ast.get_docstring(parsed(modules()[module])) or ""


def pure_modules() -> list[str]:
    return sorted(
        name
        for name, path in modules().items()
        if path.name != "__init__.py" and re.search(r"\bPure\b", says(name))
    )


def role_of(module: str) -> str:
    """The part of the server that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "hsrv" and parts[1] in ROLES else "kernel"


def ways(module: str) -> dict[str, str]:
    """Everything that importing `module` imports, each with the way to it."""
    found = {module: module}
    queue = [module]
    for name in queue:
        path = modules().get(name)
        parents = {name.rpartition(".")[0]} & modules().keys()
        for target in sorted(imports(path) | parents) if path is not None else ():
            if target not in found:
                found[target] = f"{found[name]} -> {target}"
                queue.append(target)
    return found


def forbidden(module: str, names: Container[str]) -> list[str]:
    return [way for target, way in ways(module).items() if target in names or target.split(".")[0] in names]


def test_the_rules_are_about_modules_that_exist() -> None:
    assert {role_of(name) for name in modules()} == {"kernel", *ROLES}
    assert modules().keys() >= SEES_THE_APPLICATION | PUBLIC | FACADES
    assert {folder_of(name) for name in modules()} == set(ORDER)


# rooms


def test_folders_import_one_way() -> None:
    rank = {name: ORDER.index(folder_of(name)) for name in modules()}
    edges = [(name, one) for name, known in graph().items() for one in known]
    assert not [f"{name} -> {one}" for name, one in edges if rank[one] > rank[name]]


def test_no_files_import_each_other() -> None:
    found = {frozenset(map(_short, circle)) for circle in circles(graph())}
    assert not found


def _short(module: str) -> str:
    return module.removeprefix("hsrv.")


def _packages() -> list[str]:
    return [name for name, path in modules().items() if path.name == "__init__.py"]


def test_a_package_says_in_which_order_its_files_are_read() -> None:
    for name in _packages():
        files = {path.stem for path in modules()[name].parent.glob("*.py")} - {"__init__"}
        told = re.findall(r"`(\w+)`", says(name))
        assert files <= set(told), f"not in the docstring of {name}"
        assert "n reading order:" in says(name), name
        assert len(files) <= FILES_PER_FOLDER, name


def test_a_package_imports_nothing() -> None:
    """Whoever needs a part names it."""
    assert not [name for name in _packages() if name not in FACADES and len(parsed(modules()[name]).body) > 1]


def test_every_public_event_is_a_name_of_the_package() -> None:
    public = {
        name
        for node in parsed(modules()["hsrv.events.types"]).body
        for name in _bound(node)
        if not name.startswith("_")
    }
    (listed,) = (
        node.value
        for node in parsed(modules()["hsrv.events"]).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert set(ast.literal_eval(listed)) == public


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    return [ast.unparse(target) for target in node.targets] if isinstance(node, ast.Assign) else []


def test_unit_tests_stand_in_the_folders_of_what_they_test() -> None:
    unit = ROOT / "tests" / "unit"
    folders = {".".join(path.parent.relative_to(unit).parts) for path in unit.rglob("test_*.py")}
    assert folders <= {*ORDER, "bench"}


# processes


def test_roles_import_the_kernel_and_never_each_other() -> None:
    crossed = {
        (name, target)
        for name, path in modules().items()
        for target in imports(path)
        if role_of(target) not in ("kernel", role_of(name))
    }
    assert crossed == CROSSINGS


def test_the_supervisor_never_reaches_what_sees_the_application() -> None:
    assert not [way for name in _supervisor() for way in forbidden(name, SEES_THE_APPLICATION)]


def test_of_the_supervisor_only_the_admin_address_speaks_http() -> None:
    speaks = [
        (name, one)
        for name in _supervisor()
        for one in imports(modules()[name])
        if one.split(".")[0] == "h11" or one.startswith("hsrv.http")
    ]
    assert speaks == [("hsrv.supervisor.admin.http.server", "h11")]


def _supervisor() -> list[str]:
    return [name for name in modules() if role_of(name) == "supervisor"]


def test_without_an_admin_address_nobody_imports_prometheus_client() -> None:
    code = "import hsrv.supervisor.main, sys; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_pure_modules_reach_no_system_no_clock_and_no_loop() -> None:
    assert not [way for name in pure_modules() for way in forbidden(name, IMPURE)]


def test_in_a_pure_folder_every_module_says_so() -> None:
    inside = {name for name in modules() if folder_of(name) in PURE_FOLDERS} - set(_packages())
    assert {folder_of(name) for name in inside} == set(PURE_FOLDERS)
    assert not inside - set(pure_modules())


def test_roles_are_imported_as_parts_of_hsrv() -> None:
    """`import worker` would make a second module of the same file, with a second copy of its enums."""
    folders = ("hsrv", *ROLES, "tests", "bench", "examples", "docs", "deploy")
    named = re.compile(rf"^\s*(import|from) ({'|'.join(ROLES)})\b", re.MULTILINE)
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in files if named.search(path.read_text("utf-8"))]


def test_imports_are_absolute() -> None:
    assert not [name for name, path in modules().items() if any(one[0] == "." for one in imports(path))]


def test_only_the_template_names_the_entry_points_of_worker_and_pool() -> None:
    named = {
        name
        for name, path in modules().items()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.startswith(("hsrv.worker.", "hsrv.asyncpool.")) and ":" in node.value
    }
    assert named == {"hsrv.child.template"}


# the checks themselves


def test_an_import_of_a_module_and_of_a_name_in_it_are_told_apart() -> None:
    tree = ast.parse("from hsrv.http import states, no_module\nfrom hsrv.common import terms\nimport os.path")
    assert set(_imports(ast.walk(tree))) == {
        "hsrv.http.states",
        "hsrv.http",
        "hsrv.common.terms",
        "os.path",
    }


def test_what_is_imported_for_its_type_is_known_and_not_reached() -> None:
    tree = ast.parse("if TYPE_CHECKING:\n    from hsrv.common import terms")
    assert set(_imports(ast.walk(tree))) == {"hsrv.common.terms"}
    assert not set(_imports(_running(tree)))


def test_circles_are_found() -> None:
    edges = {"a": "b", "b": "c", "c": "ad", "d": "e", "e": "d", "f": "a"}
    assert circles(edges) == {frozenset("abc"), frozenset("de")}


def test_the_way_to_a_distant_import_is_shown() -> None:
    way = ways("hsrv.supervisor.main")["anyio"]
    assert way.startswith("hsrv.supervisor.main -> ")
    assert forbidden("hsrv.supervisor.main", {"hsrv.common.tables"})
    assert not forbidden("hsrv.common.terms", {"hsrv.common.tables"})
