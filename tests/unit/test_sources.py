"""From file, environment and command line to one configuration."""

from pathlib import Path
from typing import Any

import pytest

from hsrv.config import Config, options
from hsrv.errors import ConfigError
from hsrv.sources import allowed, load_config, read_env_file
from hsrv.terms import LifespanMode


def load(folder: Path, environ: dict[str, str] | None = None, **given: Any) -> tuple[Config, dict[str, str]]:
    return load_config(given, environ=environ or {}, folder=folder)


def test_nothing_set_is_the_defaults(tmp_path: Path) -> None:
    config, sources = load(tmp_path)
    assert config == Config()
    assert set(sources.values()) == {"default"}


def test_each_layer_wins_over_the_one_below(tmp_path: Path) -> None:
    (tmp_path / "hsrv.toml").write_text("workers = 2\npools = 2\nbacklog = 2\n")
    config, sources = load(tmp_path, {"HSRV_POOLS": "3", "HSRV_BACKLOG": "3"}, backlog="4")
    assert (config.workers, config.pools, config.backlog) == (2, 3, 4)
    assert (sources["workers"], sources["pools"], sources["backlog"]) == (
        "hsrv.toml",
        "HSRV_POOLS",
        "--backlog",
    )


def test_pyproject_is_read_and_hsrv_toml_is_preferred(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.hsrv]\nworkers = 5\n")
    assert load(tmp_path)[0].workers == 5
    (tmp_path / "hsrv.toml").write_text("pools = 2\n")
    assert load(tmp_path)[0].workers == 1


def test_the_usual_variables_are_the_weakest_of_the_environment(tmp_path: Path) -> None:
    config, _ = load(tmp_path, {"PORT": "9000", "WEB_CONCURRENCY": "3"})
    assert (config.bind, config.workers) == (("0.0.0.0:9000",), 3)
    assert load(tmp_path, {"WEB_CONCURRENCY": "3", "HSRV_WORKERS": "4"})[0].workers == 4


def test_what_people_write_is_understood(tmp_path: Path) -> None:
    (tmp_path / "hsrv.toml").write_text(
        "access-log = false\nunix_mode = 0o600\nbind = 'unix:/a'\nworkers = 'auto'\n"
    )
    config, _ = load(tmp_path, {"HSRV_STREAM": "/a*, /b", "HSRV_SERVER_HEADER": "no"}, lifespan="off")
    assert config.access_log is False
    assert config.unix_mode == "0600"
    assert config.bind == ("unix:/a",)
    assert config.workers == "auto"
    assert config.stream == ("/a*", "/b")
    assert config.server_header is False
    assert config.lifespan is LifespanMode.OFF


def test_every_problem_is_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(
            tmp_path,
            {"HSRV_WORKERS": "many", "HSRV_KEEP_ALIVE": "0"},
            bind=["x"],
            forwarded_allow_ips=["300.1.1.1"],
        )
    lines = str(raised.value).splitlines()
    assert len(lines) == 4
    for name in ("workers", "keep_alive", "bind", "forwarded_allow_ips"):
        assert any(line.startswith(name) for line in lines), name


def test_limits_that_contradict_each_other_are_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="limit_request_line"):
        load(tmp_path, limit_request_line="9000", limit_request_head="1000")
    with pytest.raises(ConfigError, match="root_path"):
        load(tmp_path, root_path="api")
    with pytest.raises(ConfigError, match="access_log_format"):
        load(tmp_path, access_log_format="%(nonsense)s")


def test_the_environment_file_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=1\n\n# comment\nexport B='two words' \nC=x # rest\nD=\"#\"\nE=\n")
    assert read_env_file(str(path)) == {"A": "1", "B": "two words", "C": "x", "D": "#", "E": ""}
    path.write_text("A=1\n9=2\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_env_file(str(path))
    with pytest.raises(ConfigError, match="can't be read"):
        read_env_file(str(tmp_path / "none"))


def test_every_option_says_what_it_takes() -> None:
    for option in options():
        assert allowed(option)
        assert option.opt.help
