"""The declarations, and what no type can say."""

from typing import Any

import msgspec
import pytest

from hsrv.common.terms import LifespanMode, Preload
from hsrv.options.config import Config, cross_check, options


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(workers="auto", bind=("unix:/a", "fd:3"), preload=Preload.NONE, lifespan=LifespanMode.OFF),
        Config(app="m:a", workers=3, stream=("/a*",), keep_alive=1, access_log_format="%(h)s"),
    ],
)
def test_a_configuration_survives_the_way_to_a_child(config: Config) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=Config) == config


def test_nothing_writes_to_a_configuration() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Config().workers = 2  # type: ignore[misc]  # that it is refused is the test


def test_every_option_is_declared_with_flag_variable_and_help() -> None:
    found = list(options())
    assert [option.name for option in found] == [field.name for field in msgspec.structs.fields(Config)]
    by_name = {option.name: option for option in found}
    assert (by_name["workers"].flag, by_name["workers"].opt.short) == ("--workers", "-w")
    assert (by_name["bind"].opt.short, by_name["bind"].is_list) == ("-b", True)
    assert by_name["keep_alive"].flag == "--keep-alive"
    assert by_name["keep_alive"].variable == "HSRV_KEEP_ALIVE"


def test_every_default_is_of_its_own_type() -> None:
    for option in options():
        assert msgspec.convert(option.default, option.type) == option.default, option.name


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, []),
        ({"bind": ()}, ["bind"]),
        ({"collector": ("a.b:c", "nothing", ":c")}, ["collector", "collector"]),
        ({"supervisor_collector": ("a:b c",)}, ["supervisor_collector"]),
        ({"bind": ("nonsense", "::1:80")}, ["bind", "bind"]),
        ({"bind": ("localhost:80", "localhost:80")}, ["bind"]),
        ({"bind": ("localhost:0", "localhost:0")}, []),
        ({"forwarded_allow_ips": ("*", "unix", "10.0.0.0/8", "10.1.2.3/8", "::1")}, []),
        ({"forwarded_allow_ips": ("proxy.local",)}, ["forwarded_allow_ips"]),
        ({"proxy_protocol_from": ("*", "unix", "10.0.0.0/8", "::1")}, []),
        ({"proxy_protocol_from": ("proxy.local",)}, ["proxy_protocol_from"]),
        ({"limit_request_line": 65537}, ["limit_request_line"]),
        ({"limit_request_line": 65536}, []),
        ({"limit_request_head": 100}, []),
        ({"limit_request_line": 200, "limit_request_head": 100}, ["limit_request_line"]),
        ({"lifespan_startup_timeout": 121.0}, ["lifespan_startup_timeout"]),
        ({"lifespan_startup_timeout": 121.0, "startup_timeout": 200.0}, []),
        ({"startup_timeout": 1.0}, []),
        ({"root_path": "/api"}, []),
        ({"root_path": "api"}, ["root_path"]),
    ],
)
def test_values_that_do_not_go_together(values: dict[str, Any], wrong: list[str]) -> None:
    assert [name for name, _ in cross_check(values)] == wrong
