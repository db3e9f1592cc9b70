"""Names of other servers in every source of options: the whole table, and how names of one option combine."""

import re
from pathlib import Path
from typing import Any

import pytest

from hsrv.common.errors import ConfigError
from hsrv.options.config import Config
from hsrv.options.othernames import ROWS, OtherName
from hsrv.sources.layers import OPTIONS
from hsrv.sources.namedocs import render, verdict
from hsrv.sources.sources import load_config

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "names.md"

VALUE_FOR = {
    "log_config": "log.json",
    "bind": "127.0.0.1:9",
    "host": "127.0.0.9",
    "port": "9",
    "root_path": "/x",
    "env_file": "here",
}
"""Values that an option of this name accepts; for the others, a number does."""


def load(folder: Path, environ: dict[str, str] | None = None, **given: Any) -> tuple[Config, dict[str, str]]:
    return load_config(given, environ=environ or {}, folder=folder)


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == render(), "run: python -m hsrv.sources.namedocs > docs/names.md"


def ways(folder: Path, name: str, value: str) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """(what is written to hsrv.toml, the environment, the command line), each with the option once."""
    return [
        (f"{name} = {value!r}", {}, {}),
        ("", {f"HSRV_{name.upper()}": value}, {}),
        ("", {f"UVICORN_{name.upper()}": value}, {}),
        ("", {}, {name: value}),
    ]


@pytest.mark.parametrize("row", [row for row in ROWS if row.to], ids=lambda row: row.name)
def test_an_alias_sets_its_option_from_every_source(tmp_path: Path, row: OtherName) -> None:
    (tmp_path / "here").touch()
    (tmp_path / "log.json").write_text("{}")
    ours = "bind" if row.to in ("host", "port") else row.to
    value = VALUE_FOR.get(
        row.to if row.form == "{}" else "",
        "no" if row.off is not None else "0770" if ours == "unix_mode" else "9",
    )
    value = (
        "127.0.0.9" if row.name == "proxy_allow_from" else "%(h)s" if ours == "access_log_format" else value
    )
    changed = set()
    for text, environ, given in ways(tmp_path, row.name, value):
        (tmp_path / "hsrv.toml").write_text(text)
        config, sources = load(tmp_path, environ, **given)
        assert getattr(config, ours) != OPTIONS[ours].default
        assert sources[ours] != "default"
        changed.add(repr(getattr(config, ours)))
    assert len(changed) == 1


@pytest.mark.parametrize("row", [row for row in ROWS if row.says], ids=lambda row: row.name)
def test_what_is_not_here_is_refused_with_what_to_use_instead(tmp_path: Path, row: OtherName) -> None:
    if row.name in OPTIONS:
        pytest.skip("hsrv has an option of this name")
    for text, environ, given in ways(tmp_path, row.name, "1"):
        (tmp_path / "hsrv.toml").write_text(text)
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, environ, **given)
        assert str(raised.value).endswith(f": {row.says}")
    for named in re.findall(r"--([a-z][a-z0-9-]+)", row.says):
        assert named.replace("-", "_") in OPTIONS, f"{row.says}: no such option"


def test_the_docs_have_a_verdict_for_every_row() -> None:
    assert all(verdict(row) for row in ROWS)


# halves of an address


@pytest.mark.parametrize(
    ("environ", "given", "bind", "source"),
    [
        ({}, {"host": "0.0.0.0"}, "0.0.0.0:8000", "--host"),
        ({}, {"port": 9}, "127.0.0.1:9", "--port"),
        ({}, {"port": "9", "host": "::1"}, "[::1]:9", "--port, --host"),
        ({"PORT": "7"}, {"host": "127.0.0.1"}, "127.0.0.1:7", "--host"),
        ({"HSRV_BIND": "10.0.0.1:7"}, {"port": "9"}, "10.0.0.1:9", "--port"),
        ({"HSRV_BIND": "unix:/x"}, {"port": "9"}, "127.0.0.1:9", "--port"),
        ({"UVICORN_PORT": "5", "HSRV_PORT": "6", "PORT": "7"}, {}, "0.0.0.0:6", "HSRV_PORT"),
        ({"UVICORN_PORT": "5", "PORT": "7"}, {}, "0.0.0.0:5", "UVICORN_PORT"),
    ],
)
def test_half_of_an_address_leaves_the_other_half(
    tmp_path: Path, environ: dict[str, str], given: dict[str, Any], bind: str, source: str
) -> None:
    config, sources = load(tmp_path, environ, **given)
    assert config.bind == (bind,)
    assert sources["bind"] == source


@pytest.mark.parametrize(
    "given", [{"bind": ["a:1"], "port": "9"}, {"keep_alive": "1", "timeout_keep_alive": "2"}]
)
def test_two_names_of_one_option_at_a_time_are_a_problem(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="set the same option: give one of them"):
        load(tmp_path, **given)


def test_names_in_different_sources_override_each_other(tmp_path: Path) -> None:
    (tmp_path / "hsrv.toml").write_text("timeout-keep-alive = 1\nbind = 'a:1'\n")
    config, sources = load(tmp_path, {"UVICORN_TIMEOUT_KEEP_ALIVE": "2", "PORT": "5"}, timeout_keep_alive="3")
    assert (config.keep_alive, sources["keep_alive"]) == (3.0, "--timeout-keep-alive")
    assert config.bind == ("0.0.0.0:5",)


# habits


def test_variables_of_platforms_and_of_uvicorn_count_less_than_ours(tmp_path: Path) -> None:
    environ = {"FORWARDED_ALLOW_IPS": "10.0.0.1, 10.0.0.2", "UVICORN_RELOAD_INCLUDES": "*.html *.css"}
    config, _ = load(tmp_path, {**environ, "UVICORN_UNKNOWN": "x", "GUNICORN_CMD_ARGS": "--workers 4"})
    assert config.forwarded_allow_ips == ("10.0.0.1", "10.0.0.2")
    assert config.reload_include == ("*.html", "*.css")
    assert config.workers == 1
    config, _ = load(tmp_path, {**environ, "HSRV_FORWARDED_ALLOW_IPS": "::1"})
    assert config.forwarded_allow_ips == ("::1",)


def test_values_of_other_servers_mean_what_they_mean_there(tmp_path: Path) -> None:
    config, _ = load(tmp_path, http="httptools", ws="websockets", log_level="critical", proxy_headers=False)
    assert (config.http, config.ws, config.log_level, config.forwarded_allow_ips) == (
        "auto",
        "auto",
        "error",
        (),
    )
    assert load(tmp_path, proxy_headers=True)[0] == Config()
    with pytest.raises(ConfigError, match=r"--proxy-headers = 'perhaps': allowed is true or false"):
        load(tmp_path, proxy_headers="perhaps")


def test_a_configuration_file_of_gunicorn_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gunicorn\.conf\.py: is Python"):
        load_config({}, config_file="gunicorn.conf.py", environ={}, folder=tmp_path)
