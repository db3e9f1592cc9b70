"""What the file of `--env-file` puts into the environment, and takes out again."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hsrv import starting
from hsrv.common.errors import ConfigError, ExitCode
from hsrv.options.config import Config
from hsrv.sources.environment import FileEnvironment


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OLD", "NEW", "KEPT"):
        monkeypatch.setenv(name, "restored after the test")
        monkeypatch.delenv(name)
    monkeypatch.setenv("OURS", "before")
    return tmp_path / "env"


def shown() -> dict[str, str]:
    return {name: os.environ[name] for name in ("OLD", "NEW", "KEPT", "OURS") if name in os.environ}


def test_new_changed_and_removed_names_arrive_and_what_was_there_wins(file: Path) -> None:
    file.write_text("OLD=1\nKEPT=1\nOURS=1\n")
    config, environment = Config(env_file=str(file)), FileEnvironment()
    assert environment.read(config) is config
    assert shown() == {"OLD": "1", "KEPT": "1", "OURS": "before"}
    file.write_text("NEW=2\nKEPT=2\nOURS=2\n")
    environment.read(config)
    assert shown() == {"NEW": "2", "KEPT": "2", "OURS": "before"}
    assert environment.names == {"NEW", "KEPT"}
    environment.read(Config())
    assert shown() == {"OURS": "before"}


def test_what_the_file_has_set_is_no_option_of_ours_at_a_reload(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start has read the options before the file."""
    for name in ("HSRV_WORKERS", "HSRV_WORKERZ"):
        monkeypatch.setenv(name, "restored after the test")
        monkeypatch.delenv(name)
    file.write_text("HSRV_WORKERS=3\nHSRV_WORKERZ=3\n")
    configs: list[Config] = []

    def run(config: Config, sources: object, again: Callable[[], Config], names: object) -> ExitCode:
        configs.extend((config, again(), again()))
        return ExitCode.OK

    monkeypatch.setattr("hsrv.supervisor.main.run", run)
    monkeypatch.setattr("hsrv.system.blockedsignals.block", lambda: None)
    assert starting.start({"app": "shop:app", "env_file": str(file)}, None) == ExitCode.OK
    assert os.environ["HSRV_WORKERS"] == "3", "the application has it"
    assert configs[0] == configs[1] == configs[2]


def test_a_file_with_an_error_changes_nothing(file: Path) -> None:
    file.write_text("OLD=1\n")
    config, environment = Config(env_file=str(file)), FileEnvironment()
    environment.read(config)
    file.write_text("NEW=2\nno equals sign\n")
    with pytest.raises(ConfigError, match="line 2"):
        environment.read(config)
    assert shown() == {"OLD": "1", "OURS": "before"}
