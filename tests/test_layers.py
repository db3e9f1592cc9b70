"""Who may import whom (ARCHITECTURE.md). Read from the sources: nothing is imported here.

What a module reaches counts, not only what it names: a failure shows the way there.
"""

import ast
import subprocess
import sys
from collections.abc import Container, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
ROLES: Final = ("supervisor", "worker", "asyncpool")
"""Top-level folders, imported through the links in hsrv/ as hsrv.supervisor and so on."""

CROSSINGS: Final = {("hsrv.cli", "hsrv.supervisor.main"), ("hsrv.api", "hsrv.supervisor.main")}
"""Where the kernel starts the supervisor. The other roles are started by name: hsrv.template.ROLES."""

SEES_THE_APPLICATION: Final = {
    "hsrv.apploader",
    "hsrv.asgi",
    "hsrv.child",
    "hsrv.eager",
    "hsrv.http.connection",
    "hsrv.http.exchange",
    "hsrv.http.host",
    "hsrv.http.observed",
    "hsrv.http.scope",
    "hsrv.lifespan",
    "hsrv.template",
}
"""What the supervisor may not reach."""

PURE: Final = (
    "hsrv.asgi",
    "hsrv.asyncpool.ws_codec",
    "hsrv.asyncpool.ws_deflate",
    "hsrv.asyncpool.ws_events",
    "hsrv.asyncpool.ws_frames",
    "hsrv.asyncpool.ws_handshake",
    "hsrv.asyncpool.ws_inbox",
    "hsrv.asyncpool.ws_memory",
    "hsrv.asyncpool.ws_states",
    "hsrv.asyncpool.ws_wsproto",
    "hsrv.bindspec",
    "hsrv.brokenpage",
    "hsrv.config",
    "hsrv.errors",
    "hsrv.events",
    "hsrv.glance",
    "hsrv.globs",
    "hsrv.stopbudget",
    "hsrv.http.body",
    "hsrv.http.events",
    "hsrv.http.failure",
    "hsrv.http.fields",
    "hsrv.http.forwarded",
    "hsrv.http.grammar",
    "hsrv.http.head",
    "hsrv.http.parser",
    "hsrv.http.parser_h11",
    "hsrv.http.parser_split",
    "hsrv.http.proxy",
    "hsrv.http.raw",
    "hsrv.http.response",
    "hsrv.http.scope",
    "hsrv.http.trace",
    "hsrv.messages",
    "hsrv.rates",
    "hsrv.rpc.messages",
    "hsrv.supervisor.backoff",
    "hsrv.supervisor.plan",
    "hsrv.tables",
    "hsrv.terms",
    "hsrv.visible",
    "hsrv.watchrules",
    "hsrv.worker.route",
)
"""Functions from values to values: what they need from outside, like the time, is passed in."""

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
def imports(path: Path) -> frozenset[str]:
    """The modules that a file imports, also inside of functions."""
    return frozenset(_imports(ast.parse(path.read_text("utf-8"))))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in _running(tree):
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
    assert set(PURE) | SEES_THE_APPLICATION <= modules().keys()


@pytest.mark.parametrize("name", sorted(modules()))
def test_roles_import_the_kernel_and_never_each_other(name: str) -> None:
    crossed = [
        f"{name} -> {target}"
        for target in imports(modules()[name])
        if role_of(target) not in ("kernel", role_of(name)) and (name, target) not in CROSSINGS
    ]
    assert not crossed


@pytest.mark.parametrize("name", sorted(name for name in modules() if role_of(name) == "supervisor"))
def test_the_supervisor_never_reaches_what_sees_the_application(name: str) -> None:
    assert not forbidden(name, SEES_THE_APPLICATION)


@pytest.mark.parametrize("name", sorted(name for name in modules() if role_of(name) == "supervisor"))
def test_of_the_supervisor_only_the_admin_address_speaks_http(name: str) -> None:
    speaks = [
        one for one in imports(modules()[name]) if one.split(".")[0] == "h11" or one.startswith("hsrv.http")
    ]
    assert speaks == (["h11"] if name == "hsrv.supervisor.admin.server" else [])


def test_without_an_admin_address_nobody_imports_prometheus_client() -> None:
    code = "import hsrv.supervisor.main, sys; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_reach_no_system_no_clock_and_no_loop(name: str) -> None:
    assert not forbidden(name, IMPURE)


def _python_files() -> list[str]:
    folders = ("hsrv", *ROLES, "tests", "bench", "examples", "docs", "deploy")
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("name", _python_files())
def test_roles_are_imported_as_parts_of_hsrv(name: str) -> None:
    """`import worker` would make a second module of the same file, with a second copy of its enums."""
    assert not [target for target in imports(ROOT / name) if target.split(".")[0] in ROLES]


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_are_absolute(name: str) -> None:
    assert not [target for target in imports(modules()[name]) if target.startswith(".")]


def test_only_the_template_names_the_entry_points_of_worker_and_pool() -> None:
    named = {
        name
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.startswith(("hsrv.worker.", "hsrv.asyncpool.")) and ":" in node.value
    }
    assert named == {"hsrv.template"}


# the checks themselves


def test_an_import_of_a_module_and_of_a_name_in_it_are_told_apart() -> None:
    tree = ast.parse("from hsrv.http import head, no_module\nfrom hsrv import terms\nimport os.path")
    assert set(_imports(tree)) == {"hsrv.http.head", "hsrv.http", "hsrv.terms", "os.path"}


def test_the_way_to_a_distant_import_is_shown() -> None:
    way = ways("hsrv.supervisor.main")["anyio"]
    assert way.startswith("hsrv.supervisor.main -> ")
    assert forbidden("hsrv.supervisor.main", {"hsrv.tables"})
    assert not forbidden("hsrv.terms", {"hsrv.tables"})
