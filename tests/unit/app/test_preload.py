"""What is imported before forking, and when forking is not safe."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsrv.app.preload import is_library, third_party_modules

BOMB = "raise AssertionError('imported')\n"


@pytest.fixture(autouse=True)
def _path() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


def write(folder: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{source}\n{BOMB}")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"shop.py": "import json"}, ["json"]),
        ({"shop.py": "import wave, json as j"}, ["wave", "json"]),
        ({"shop.py": "import email.mime.text"}, ["email", "email.mime", "email.mime.text"]),
        ({"shop.py": "from email import message"}, ["email", "email.message"]),
        ({"shop.py": "from os import path"}, ["os"]),
        ({"shop.py": "import time"}, ["time"]),
        ({"shop.py": "import h11"}, ["h11"]),
        ({"shop.py": "import not_installed_anywhere, json"}, ["json"]),
        ({"shop.py": "from json import *"}, ["json"]),
        ({"shop.py": "try:\n    import json\nexcept ImportError:\n    import wave"}, ["json", "wave"]),
        ({"shop.py": "class A:\n    import json"}, ["json"]),
        ({"shop.py": "def f():\n    import json"}, []),
        ({"shop.py": "async def f():\n    import json"}, []),
        ({"shop.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json"}, ["typing"]),
        ({"shop.py": "if __name__ == '__main__':\n    import json\nelse:\n    import wave"}, ["wave"]),
        ({"shop.py": "import other", "other.py": "import json"}, ["json"]),
        ({"shop.py": "import other", "other.py": "import shop, json"}, ["json"]),
        ({"shop.py": "import other", "other.py": "(", "unused.py": "import json"}, []),
        ({"shop.py": "from lib import part", "lib/__init__.py": "", "lib/part.py": "import json"}, ["json"]),
        ({"shop.py": "import lib.part", "lib/__init__.py": "import wave", "lib/part.py": ""}, ["wave"]),
        ({"shop.py": "import lib.part", "lib/part.py": "import json"}, ["json"]),
    ],
)
def test_libraries_are_found_through_the_applications_own_modules(
    tmp_path: Path, files: dict[str, str], found: list[str]
) -> None:
    write(tmp_path, files)
    assert third_party_modules("shop:app", str(tmp_path)) == found
    assert "shop" not in sys.modules


@pytest.mark.parametrize(
    "line",
    [
        "from . import deep",
        "from .deep import x",
        "from .. import other",
        "from ..other import x",
        "import top.other",
    ],
)
def test_relative_imports_are_followed(tmp_path: Path, line: str) -> None:
    write(
        tmp_path,
        {
            "top/__init__.py": "import wave",
            "top/web/__init__.py": "",
            "top/web/views.py": f"from .... import above_the_top\n{line}",
            "top/web/deep.py": "import json",
            "top/other.py": "import json",
        },
    )
    assert third_party_modules("top.web.views:app", str(tmp_path)) == ["wave", "json"]


def test_own_code_outside_of_the_folder_is_own_code(tmp_path: Path) -> None:
    """A sibling that an editable install or PYTHONPATH makes importable."""
    write(tmp_path, {"app/shop.py": "import sibling", "src/sibling.py": "import json"})
    sys.path.append(str(tmp_path / "src"))
    assert third_party_modules("shop:app", str(tmp_path / "app")) == ["json"]


def test_an_installed_application_is_read_and_not_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"site-packages/sold/__init__.py": "", "site-packages/sold/web.py": "import json, sold.more"},
    )
    write(tmp_path, {"site-packages/sold/more.py": ""})
    sys.path.append(str(tmp_path / "site-packages"))
    assert third_party_modules("sold.web:app", str(tmp_path)) == ["json"]


def test_what_is_a_library(tmp_path: Path) -> None:
    assert is_library(Path(os.__file__))
    assert is_library(Path(pytest.__file__))
    assert not is_library(tmp_path)
    assert not is_library(Path(__file__))
