"""Fixtures for the tests of development."""

from pathlib import Path

import pytest

from tests.unit.supervisor.develop.watching import age


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "pkg" / "deep").mkdir(parents=True)
    for name in ("main.py", "pkg/__init__.py", "pkg/views.py", "pkg/deep/models.py"):
        (folder / name).write_text("1\n")
        age(folder / name)
    return folder
