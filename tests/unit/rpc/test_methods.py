"""The table of methods between the supervisor and its children."""

import msgspec
import pytest

from hsrv.rpc import methods
from hsrv.rpc.methods import DrainParams, LogLevelParams, Method, ServeParams

METHODS = [value for value in vars(methods).values() if isinstance(value, Method)]


def test_every_method_has_a_name_of_its_own() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS) == 13


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_its_description_says_who_sends_it(method: Method[msgspec.Struct, msgspec.Struct]) -> None:
    assert method.doc.split(" ")[0] in ("supervisor", "child", "worker", "both")
    assert "\n" not in method.doc


@pytest.mark.parametrize(
    ("new", "shorter"),
    [
        (DrainParams(graceful_timeout=9, stream_grace=10, adopt=True), False),
        (DrainParams(graceful_timeout=1, stream_grace=10, adopt=True), False),
        (DrainParams(graceful_timeout=9, stream_grace=9, adopt=True), True),
        (DrainParams(graceful_timeout=9, stream_grace=11, adopt=False), True),
    ],
)
def test_a_drain_is_shorter_without_moves_or_with_less_time_for_streams(
    new: DrainParams, shorter: bool
) -> None:
    assert new.is_shorter_than(DrainParams(graceful_timeout=9, stream_grace=10, adopt=True)) is shorter


def test_a_drain_that_moves_connections_is_never_shorter_for_that() -> None:
    closing = DrainParams(graceful_timeout=9, stream_grace=10)
    moving = DrainParams(graceful_timeout=9, stream_grace=10, adopt=True)
    assert not moving.is_shorter_than(closing)


@pytest.mark.parametrize("params", [LogLevelParams, ServeParams])
def test_an_unknown_level_is_refused(params: type[msgspec.Struct]) -> None:
    assert msgspec.to_builtins(msgspec.convert({"level": "debug"}, params))["level"] == "debug"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"level": "loud"}, params)
