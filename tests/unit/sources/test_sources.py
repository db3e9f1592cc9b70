"""From file, environment and command line to one configuration."""

from pathlib import Path
from typing import Any

import pytest

from hsrv.common.errors import ConfigError
from hsrv.common.terms import LifespanMode
from hsrv.options.config import Config, options
from hsrv.sources.sources import allowed, load_config, read_env_file


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
        "access-log = false\nunix_mode = 0o600\numask = 0o27\nuser = 1000\nbind = 'unix:/a'\nworkers = 'auto'\n"
    )
    config, _ = load(tmp_path, {"HSRV_STREAM": "/a*, /b", "HSRV_SERVER_HEADER": "no"}, lifespan="off")
    assert config.access_log is False
    assert config.unix_mode == "0600"
    assert (config.umask, config.user, config.group) == ("0027", "1000", None)
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


# what is wrong, and where


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", "0"),
        ("workers", "2.5"),
        ("workers", ""),
        ("pools", "99999999999"),
        ("backlog", "99999999999999999999"),
        ("keep_alive", "inf"),
        ("keep_alive", "nan"),
        ("graceful_timeout", "nan"),
        ("graceful_timeout", "-1"),
        ("keep_alive", "1e10"),
        ("worker_nice", "20"),
        ("limit_request_body", "99999999999999999999"),
        ("unix_mode", "888"),
        ("umask", "888"),
        ("umask", ""),
        ("proxy_protocol", "v3"),
        ("unix_mode", "rw"),
        ("access_log", "perhaps"),
        ("preload", "all"),
        ("loop", "trio"),
    ],
)
def test_a_value_that_nothing_could_use_is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, {f"HSRV_{name.upper()}": value})
    said = str(raised.value)
    assert said.startswith(f"{name} = {value!r} (set by HSRV_{name.upper()}): allowed is ")
    assert "\n" not in said


def test_the_numbers_that_are_allowed_are_told(tmp_path: Path) -> None:
    """In words, and no others."""
    for option, value, said in (
        ("worker_nice", "20", "a whole number from 0 to 19"),
        ("keep_alive", "x", "a time above 0, such as 30, 500ms, 2m or 1h30m"),
        ("worker_max_memory", "x", "a size from 0, such as 4096, 64KiB or 1.5GB"),
        ("hang_action", "x", "report or replace"),
        ("preload", "x", "auto, app, libraries or none"),
        ("bind", [5], "a list of texts"),
    ):
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, None, **{option: value})
        assert str(raised.value).endswith(f"(set by --{option.replace('_', '-')}): allowed is {said}")


def test_times_and_sizes_take_units_from_every_source(tmp_path: Path) -> None:
    (tmp_path / "hsrv.toml").write_text("graceful_timeout = '2m'\nbody_buffer = '1 MiB'\nkeep-alive = 7\n")
    config, _ = load(tmp_path, {"HSRV_PARK_AFTER": "500ms"}, worker_max_memory="200MiB", request_timeout=5)
    assert (config.graceful_timeout, config.body_buffer, config.keep_alive) == (120.0, 1024**2, 7.0)
    assert (config.park_after, config.worker_max_memory, config.request_timeout) == (0.5, 200 * 1024**2, 5.0)
    for option in options():
        if option.is_time:
            assert getattr(load(tmp_path, None, **{option.name: "0.5m"})[0], option.name) == 30.0
        elif option.is_size and option.name != "limit_request_line":
            assert getattr(load(tmp_path, None, **{option.name: "32k"})[0], option.name) == 32768


def test_words_are_understood_however_they_are_spelled(tmp_path: Path) -> None:
    config, _ = load(tmp_path, log_level="INFO", preload="Auto", hang_action="REPORT")
    assert (config.log_level, config.preload, config.hang_action) == ("info", "auto", "report")


@pytest.mark.parametrize(
    "line", ["workers = true", "app = 5", "stream = 5", "stream = [5]", "keep_alive = '1 second'"]
)
def test_a_file_value_of_the_wrong_type_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "hsrv.toml").write_text(line)
    with pytest.raises(ConfigError, match=r"set by hsrv\.toml"):
        load(tmp_path)


def test_unknown_names_are_told_with_what_was_probably_meant(tmp_path: Path) -> None:
    (tmp_path / "hsrv.toml").write_text("keep-alife = 3\n")
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, {"HSRV_WORKER": "3", "HSRV_XYZZY": "1"}, pool="1")
    said = str(raised.value)
    assert "hsrv.toml: unknown key 'keep-alife'; did you mean keep_alive?" in said
    assert "HSRV_WORKER: no such option; did you mean HSRV_WORKERS?" in said
    assert "HSRV_XYZZY: no such option" in said
    assert "--pool: no such option; did you mean pools?" in said


def test_problems_of_the_file_itself_come_with_all_others(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config({"workers": "0"}, config_file="none.toml", environ={}, folder=tmp_path)
    first, second = str(raised.value).splitlines()
    assert first == "none.toml: no such configuration file"
    assert second.startswith("workers = '0'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers = \n", "line 1"),
        ("tool = 5\n", None),
        ("[tool]\nhsrv = 5\n", "tool.hsrv = 5: allowed is a table"),
        ("[tool.hsrv]\nwrokers = 5\n", "did you mean workers"),
        ("[tool.other]\nx = 5\n", None),
    ],
)
def test_a_pyproject_of_any_shape_is_read_or_refused(tmp_path: Path, text: str, said: str | None) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    if said is None:
        assert load(tmp_path)[0] == Config()
        return
    with pytest.raises(ConfigError) as raised:
        load(tmp_path)
    assert str(raised.value).startswith("pyproject.toml: ")
    assert said in str(raised.value)


def test_a_file_that_was_asked_for_must_be_about_us(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(ConfigError, match=r"no \[tool\.hsrv\]"):
        load_config({}, config_file="pyproject.toml", environ={}, folder=tmp_path)
    (tmp_path / "other.toml").write_text("workers = 6\n")
    (tmp_path / "hsrv.toml").write_text("workers = 7\n")
    config, sources = load_config({}, config_file="other.toml", environ={}, folder=tmp_path)
    assert (config.workers, sources["workers"]) == (6, "other.toml")
    config, _ = load(tmp_path, {"HSRV_CONFIG": "other.toml"})
    assert config.workers == 6


def test_what_was_set_to_compile_hsrv_is_no_mistake_when_it_starts(tmp_path: Path) -> None:
    load(tmp_path, {"HSRV_COMPILE": "1"})


def test_directories_and_files_that_are_missing_are_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, app_dir="nowhere", env_file="none.env")
    assert [line.partition(" ")[0] for line in str(raised.value).splitlines()] == ["app_dir", "env_file"]
    (tmp_path / "here").mkdir()
    (tmp_path / "env").touch()
    assert load(tmp_path, app_dir="here", env_file="env")[0].app_dir == "here"


def test_variables_of_a_kubernetes_service_named_hsrv_are_nobodys_mistake(tmp_path: Path) -> None:
    links = {
        "HSRV_SERVICE_HOST": "10.0.0.1",
        "HSRV_SERVICE_PORT": "80",
        "HSRV_SERVICE_PORT_HTTP": "80",
        "HSRV_PORT": "tcp://10.0.0.1:80",
        "HSRV_PORT_80_TCP_ADDR": "10.0.0.1",
        "HSRV_SHOP_SERVICE_HOST": "10.0.0.2",
    }
    assert load(tmp_path, links)[0] == Config()
    assert load(tmp_path, {"HSRV_PORT": "8001"})[0].bind == ("127.0.0.1:8001",)


def test_usual_variables_that_are_set_empty_are_not_set(tmp_path: Path) -> None:
    assert load(tmp_path, {"PORT": "", "WEB_CONCURRENCY": ""})[0] == Config()


def test_the_python_call_is_named_as_the_source(tmp_path: Path) -> None:
    config, sources = load_config({"workers": 2}, environ={}, folder=tmp_path, flag="run({}=...)")
    assert (config.workers, sources["workers"]) == (2, "run(workers=...)")


def test_every_problem_of_the_environment_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("one\nA=1\nB='x\n")
    with pytest.raises(ConfigError) as raised:
        read_env_file(str(tmp_path / "env"))
    assert [line.split(": ")[0] for line in str(raised.value).splitlines()] == [
        f"env_file {tmp_path / 'env'}, line 1",
        f"env_file {tmp_path / 'env'}, line 3",
    ]
