"""What a started server has imported, where.

A module too many costs every start its time, and if each worker imports it for itself, as many times its memory.
"""

import importlib.util
import json
from pathlib import Path

import pytest

from hsrv.testing import LiveServer
from tests.conftest import PARSER
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, eventually

APP = "tests.apps.imports:app"

FOR_SOME: frozenset[str] = frozenset(
    {"hsrv.develop.brokenpage", "multiprocessing", "pathspec", "prometheus_client", "watchfiles", "wsproto"}
) | ({"h11"} if PARSER == "auto" else set())
"""What only some servers use: for development, with an admin address, with another parser or codec, of applications.
(rich is in all but the supervisor: structlog imports it.)"""

OF_THE_COMMAND_LINE: frozenset[str] = frozenset({"hsrv.cli", "hsrv.operate", "typer"})
"""What help, mistakes and other commands take. A plain `hsrv start` reads its options without it."""

IN_THE_SUPERVISOR: frozenset[str] = OF_THE_COMMAND_LINE | frozenset(
    {"fastapi", "h11", "hsrv.supervisor.admin.http.server", "importlib.metadata", "rich", "uvloop"}
)
"""What a supervisor without an admin address has no use for, beside what is for some."""


def loaded(modules: list[str], unwanted: frozenset[str]) -> set[str]:
    """Which of them are there, themselves or a part."""
    return {
        name for name in unwanted for module in modules if module == name or module.startswith(f"{name}.")
    }


def answered(server: LiveServer, *fields: str) -> dict[str, list[str]]:
    with Wire(server.host, server.port) as wire:
        found: dict[str, list[str]] = wire.get("/", *fields).json
    return found


@pytest.mark.parametrize("fields", [(), ("Accept: text/event-stream",)], ids=["worker", "pool"])
def test_a_worker_and_a_pool_import_nothing_for_themselves(serve: Serve, fields: tuple[str, ...]) -> None:
    modules = answered(serve(APP, workers=2), *fields)
    assert modules["own"] == []
    assert not loaded(modules["all"], FOR_SOME | OF_THE_COMMAND_LINE)


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [((), {"h11"}), (("Accept: text/event-stream",), {"h11", "wsproto"})],
    ids=["worker", "pool"],
)
def test_what_options_choose_is_imported_before_the_fork(
    serve: Serve, fields: tuple[str, ...], chosen: set[str]
) -> None:
    """A pool that imports at its first WebSocket may find no descriptor for it, or the files of another version."""
    modules = answered(serve(APP, http="h11", ws="wsproto"), *fields)
    assert modules["own"] == []
    assert loaded(modules["all"], frozenset(chosen)) == chosen


def test_what_a_process_imports_for_itself_is_seen(serve: Serve) -> None:
    modules = answered(serve(APP, preload="none"))
    assert "tests.apps.imports" in modules["all"]
    assert "tests.apps.imports" in modules["own"]


def test_the_supervisor_imports_nothing_that_only_some_servers_use(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "modules"
    serve(APP, env={"MODULES": str(file)}, supervisor_collector=["tests.apps.imports:Noting"])
    text = eventually(lambda: file.read_text() if file.exists() else "", "the generation serves")
    modules: list[str] = json.loads(text)
    assert "hsrv.supervisor.supervisor" in modules
    assert not loaded(modules, FOR_SOME | IN_THE_SUPERVISOR)


def test_the_names_are_those_of_modules() -> None:
    """One that is misspelt would never be found."""
    missing = {name for name in FOR_SOME | IN_THE_SUPERVISOR if importlib.util.find_spec(name) is None}
    assert not missing
