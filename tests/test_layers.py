"""Who may import whom (ARCHITECTURE.md). Read from the sources: nothing is imported here."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
ROLES: Final = ("supervisor", "worker", "asyncpool")
STARTERS: Final = {"hsrv/cli.py", "hsrv/api.py"}
"""The kernel modules that start the supervisor."""

RUNS_THE_APPLICATION: Final = ("hsrv.apploader", "hsrv.lifespan", "hsrv.asgi", "hsrv.child", "hsrv.template", "hsrv.http.host")
PURE: Final = (
    "hsrv/http/events.py",
    "hsrv/http/grammar.py",
    "hsrv/http/raw.py",
    "hsrv/http/parser.py",
    "hsrv/http/parser_h11.py",
    "hsrv/http/head.py",
    "hsrv/http/body.py",
    "hsrv/http/fields.py",
    "hsrv/http/response.py",
    "hsrv/http/forwarded.py",
    "hsrv/http/scope.py",
    "hsrv/http/trace.py",
    "hsrv/bindspec.py",
    "hsrv/errors.py",
    "hsrv/globs.py",
    "hsrv/messages.py",
    "hsrv/tables.py",
    "hsrv/terms.py",
    "supervisor/backoff.py",
    "supervisor/plan.py",
    "worker/route.py",
)
"""Decisions: functions from values to values."""

IMPURE: Final = {"socket", "os", "time", "asyncio", "anyio", "logging", "select", "threading", "subprocess"}


def sources() -> list[str]:
    """Every source file, by its path from the root; the role folders by their real place."""
    kernel = [path for path in (ROOT / "hsrv").rglob("*.py") if path.resolve().is_relative_to(ROOT / "hsrv")]
    roles = [path for role in ROLES for path in (ROOT / role).rglob("*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in kernel + roles)


def imports(name: str) -> Iterator[str]:
    """The modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names)


def folder(name: str) -> str:
    """The part of the server that a file belongs to."""
    first = name.partition("/")[0]
    return first if first in ROLES else "kernel"


def test_every_folder_has_sources() -> None:
    assert {folder(name) for name in sources()} == {"kernel", *ROLES}


@pytest.mark.parametrize("name", sources())
def test_roles_are_imported_as_part_of_hsrv(name: str) -> None:
    """`import worker` would make a second module of the same file, with a second copy of its enums."""
    assert not [module for module in imports(name) if module.partition(".")[0] in ROLES]


@pytest.mark.parametrize("name", sources())
def test_roles_never_import_each_other_and_the_kernel_none_of_them(name: str) -> None:
    own = f"hsrv.{folder(name)}"
    for module in imports(name):
        for role in ROLES:
            target = f"hsrv.{role}"
            if module == target or module.startswith(f"{target}."):
                allowed = target == own or (role == "supervisor" and name in STARTERS)
                assert allowed, f"{name} imports {module}"


@pytest.mark.parametrize("name", [name for name in sources() if folder(name) == "supervisor"])
def test_the_supervisor_imports_nothing_that_runs_the_application(name: str) -> None:
    bad = [m for m in imports(name) if any(m == b or m.startswith(f"{b}.") for b in RUNS_THE_APPLICATION)]
    assert not bad, f"{name} imports {bad}"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_no_io(name: str) -> None:
    bad = [module for module in imports(name) if module.partition(".")[0] in IMPURE]
    assert not bad, f"{name} imports {bad}"
