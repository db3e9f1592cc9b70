"""A reload reads the configuration before anything starts, and everybody is told what came of it."""

import msgspec

from hsrv.common.errors import ConfigError
from hsrv.options.config import Config
from hsrv.supervisor.operators.reloads import Reloads
from hsrv.supervisor.plan.actions import OperationEnded
from hsrv.supervisor.runtime.configuration import Configuration
from hsrv.supervisor.runtime.reports import ReloadBegun
from tests.unit.supervisor.inmemory import InMemory


def with_levels(server: InMemory) -> list[str]:
    """The log levels that a reload sets."""
    levels: list[str] = []
    server.reloads = Reloads(server.loop, server.configuration, levels.append, lambda: server.upgrading)
    return levels


def test_a_configuration_that_can_not_be_read_ends_the_reload_and_changes_nothing() -> None:
    server = InMemory().serve()

    def broken() -> Config:
        raise ConfigError("no such file")

    server.configuration = Configuration(server.config, broken)
    with_levels(server)
    server.reload("r1")
    assert server.ended() == {"r1": "no such file"}
    assert list(server.plan.generations) == [1]
    assert server.configuration.config is server.config


def test_what_is_in_the_way_is_the_reason() -> None:
    server = InMemory().serve()
    server.upgrading = "an upgrade is under way"
    server.reload("r1")
    assert server.ended() == {"r1": "an upgrade is under way"}


def test_options_of_the_supervisors_own_life_stay_and_the_others_change() -> None:
    server = InMemory().serve()
    levels = with_levels(server)
    server.wanted = msgspec.structs.replace(server.config, workers=3, bind=("unix:/x",), log_level="debug")
    server.reload("r1")
    config = server.configuration.config
    assert (config.workers, config.bind) == (3, server.config.bind)
    assert server.plan.workers == 3
    assert levels == ["debug"]


def test_a_log_level_that_is_as_before_is_not_set_again() -> None:
    server = InMemory().serve()
    levels = with_levels(server)
    server.reload("r1")
    assert levels == []


def test_a_request_joins_the_reload_that_waits() -> None:
    server = InMemory().serve()
    first = server.reloads.next_id()
    server.reload("r1")
    server.reload("r2")
    assert first not in ("", "r2")
    assert server.reloads.next_id() == "r2"


def test_after_a_stop_no_reload_begins() -> None:
    server = InMemory().serve()
    server.stop()
    server.reload("r1")
    assert [line.details for line in server.said("not reloaded")] == [{"why": "the server stops"}]
    assert not [one for one in server.reports if isinstance(one, ReloadBegun | OperationEnded)]
