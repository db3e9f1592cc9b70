"""What a plain `hsrv start` reads itself means the same to typer, which reads everything else."""

from collections.abc import Sequence
from typing import Any

import pytest

from hsrv import cli
from hsrv.options.arguments import Given, parse
from hsrv.options.config import options


class Read(BaseException):
    """Instead of a start."""


@pytest.fixture(autouse=True)
def only_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_config(values: dict[str, Any], *, config_file: str | None) -> None:
        raise Read(list(values.items()), config_file)

    monkeypatch.setattr(cli, "load_config", load_config)


@pytest.fixture(scope="module")
def start() -> Any:
    return cli.command_line("start")


def read_by_typer(start: Any, words: Sequence[str]) -> tuple[list[tuple[str, Any]], str | None]:
    with pytest.raises(Read) as read:
        start(["start", *words])
    values, config_file = read.value.args
    return values, config_file


def read_by_us(words: Sequence[str]) -> tuple[list[tuple[str, Any]], str | None]:
    given = parse(words)
    assert isinstance(given, Given)
    return list(given.values.items()), given.config_file


def every_option() -> list[str]:
    words = ["shop:app"]
    for option in reversed(options()):
        if option.name == "app":
            continue
        if isinstance(option.default, bool):
            words.append(option.flag if option.default else f"--no-{option.flag[2:]}")
        else:
            words += [option.flag, f"a value of {option.name}"]
    return words


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["shop:app"],
        ["--workers", "3", "shop:app"],
        ["-w", "3", "-b", "a:1", "shop:app", "--bind=b:2", "--bind", "c:3"],
        ["--workers=3", "--workers", "4", "-w", "5"],
        ["--workers=", "--run-dir", "", "--user=a=b"],
        ["--access-log", "--no-access-log", "--no-factory", "--factory"],
        ["--config", "one.toml", "-c", "other.toml"],
        ["--keep-alive=-1", ""],
        every_option(),
    ],
    ids=" ".join,
)
def test_it_means_the_same_to_typer(start: Any, words: list[str]) -> None:
    assert read_by_us(words) == read_by_typer(start, words)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--help-all"],
        ["shop:app", "--help"],
        ["--wrokers", "2"],
        ["--worker", "2"],
        ["--workers"],
        ["--keep-alive", "-1"],
        ["--run-dir", "--help"],
        ["-w3"],
        ["-w=3"],
        ["--factory=yes"],
        ["--app", "shop:app"],
        ["shop:app", "other:app"],
        ["--", "shop:app"],
        ["-"],
    ],
    ids=" ".join,
)
def test_everything_else_is_left_to_typer(words: list[str]) -> None:
    assert parse(words) is None
