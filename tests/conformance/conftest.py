"""One server for all cases of a module."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hsrv.testing import LiveServer
from tests.conformance import limits
from tests.conformance.runner import World
from tests.conftest import PARSER

ROOT = Path(__file__).parent.parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@contextmanager
def serving(
    folder: Path, *, app: str = "tests.conformance.app:app", late: bool = False, **options: Any
) -> Iterator[World]:
    """The server. In the end it stops, and its application may have seen nothing but what the cases expect. `late`: its
    workers accept nothing, and so the pool reads every head."""
    record, unix = folder / "record", folder / "s"
    server = LiveServer(
        app,
        cwd=ROOT,
        env={"RECORD": str(record), **({"LATE": "1"} if late else {})},
        bind=["127.0.0.1:0", f"unix:{unix}"],
        stream=["/pool/*"],
        http=PARSER,
        access_log=False,
        **options,
    )
    world = World(server, unix, record, PARSER)
    with server:
        yield world
    seen = Counter(record.read_text("latin-1").splitlines())
    assert seen == world.expected, f"also called: {seen - world.expected}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("w"), **limits.OPTIONS) as world:
        yield world


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The pool reads every head."""
    with serving(tmp_path_factory.mktemp("late"), late=True, **limits.OPTIONS) as world:
        yield world
