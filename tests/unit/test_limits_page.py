"""docs/limits.md says what the source says: a row for each bound, found where the row looks, with its default."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from hsrv.options.config import DEFAULTS

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "limits.md"

UNITS: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1}

WIRE_SIDE: Final = (
    "asyncpool/**/*.py",
    "hsrv/logs/accesslog.py",
    "hsrv/net/conn.py",
    "hsrv/common/globs.py",
    "hsrv/http/**/*.py",
    "hsrv/net/takeloop.py",
    "hsrv/serving/*.py",
    "hsrv/net/poller.py",
    "hsrv/wsgi/*.py",
    "supervisor/admin/**/*.py",
    "worker/*.py",
)
"""What reads from clients, or holds something for them."""

_bound: Final = re.compile(
    r"^((?:MAX_[A-Z0-9_]+|[A-Z][A-Z0-9_]*_(?:LIMIT|BATCH|BURST|TIMEOUT))): Final", re.M
)
"""How a constant is named that bounds a buffer or a loop."""

NO_BOUND_OF_A_CLIENT: Final = {
    ("asyncpool/websocket/codecs/deflate.py", "MAX_INFLATED"),  # the default of an option
    ("asyncpool/websocket/codecs/events.py", "MAX_REASON"),  # of what the application says
    ("asyncpool/websocket/codecs/frames.py", "MAX_MEDIUM"),  # the format of a frame
    ("hsrv/http/wire/response.py", "JOIN_LIMIT"),  # how a response is written, not how long it may be
    (
        "hsrv/wsgi/response.py",
        "JOIN_LIMIT",
    ),  # how a list of the application's is sent, not how long it may be
    ("hsrv/wsgi/threads.py", "IDLE_TIMEOUT"),  # of our own threads
    ("supervisor/admin/metrics/appmetrics.py", "TOLD_LIMIT"),  # names in the log
    ("supervisor/admin/dashboard/document.py", "PATHS_LIMIT"),  # rows of the dashboard
    ("supervisor/admin/http/server.py", "CLOSE_TIMEOUT"),  # of our own generators
}


class Row(NamedTuple):
    what: str
    file: str
    name: str
    default: float
    option: str
    """"" where there is none."""
    seen: str


def rows() -> Iterator[Row]:
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] != "what" and set(cells[0]) != {"-"}:
            yield row(cells)


def row(cells: list[str]) -> Row:
    what, where, default, option, seen = cells
    place = re.fullmatch(r"`([\w/.]+\.py)` `(\w+)`", where)
    value = re.fullmatch(r"([0-9.]+) ?(\w*)(?: \(.+\))?", default)
    assert place, f"{what}: where is {where!r}"
    assert value, f"{what}: the default is {default!r}"
    assert option == "—" or re.fullmatch(r"`--[a-z-]+`", option), f"{what}: the option is {option!r}"
    assert seen, f"{what}: what does the client see?"
    number = float(value[1]) * UNITS[value[2]]
    return Row(what, place[1], place[2], number, option.strip("`—"), seen)


ROWS: Final = list(rows())


@pytest.mark.parametrize("row", ROWS, ids=[f"{one.file}-{one.name}" for one in ROWS])
def test_each_bound_is_in_the_source_with_its_default(row: Row) -> None:
    if row.option:
        assert row.option == f"--{row.name.replace('_', '-')}"
        assert DEFAULTS[row.name] == row.default
        assert re.search(rf"\b{row.name}\b", (ROOT / row.file).read_text("utf-8")), "it acts elsewhere"
    else:
        assert constant(row.file, row.name) == row.default


def constant(file: str, name: str) -> Any:
    assert (ROOT / file).is_file()
    module = file.removesuffix(".py").replace("/", ".")
    return vars(import_module(module if module.startswith("hsrv.") else f"hsrv.{module}"))[name]


def test_nothing_stands_there_twice() -> None:
    assert len({(one.file, one.name) for one in ROWS}) == len(ROWS) > 50


def test_no_bound_of_the_wire_side_is_missing() -> None:
    """Who adds one says on the page what the client sees."""
    found = {
        (str(path.relative_to(ROOT)), name)
        for pattern in WIRE_SIDE
        for path in ROOT.glob(pattern)
        for name in _bound.findall(path.read_text("utf-8"))
    }
    assert found - {(one.file, one.name) for one in ROWS} - NO_BOUND_OF_A_CLIENT == set()
    assert found >= NO_BOUND_OF_A_CLIENT
