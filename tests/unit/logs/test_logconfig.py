"""The file of `--log-config`."""

from pathlib import Path

import pytest

from hsrv.common.errors import ConfigError
from hsrv.logs.logconfig import read
from hsrv.sources.sources import load_config

CONFIGURED = {"version": 1, "root": {"level": "DEBUG"}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.json", '{"version": 1, "root": {"level": "DEBUG"}}'),
        ("log.yaml", "version: 1\nroot:\n  level: DEBUG\n"),
        ("log.yml", "root: {level: DEBUG}\n"),
        ("log.toml", "[root]\nlevel = 'DEBUG'\n"),
    ],
)
def test_it_is_read_by_its_suffix(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read(str(tmp_path / name)) == CONFIGURED


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("log.json", "{", "can't be read: "),
        ("log.json", "[]", "is not a table"),
        ("log.yaml", "a: [", "can't be read: "),
        ("log.toml", "=", "can't be read: "),
        ("log.ini", "[loggers]", "can't be read: allowed are .json, .yaml, .yml and .toml"),
        ("log.json", None, "can't be read: "),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config({"log_config": name}, environ={}, folder=tmp_path)
    assert str(raised.value).startswith(f"log_config (--log-config): '{name}': {said}")
