"""The table of methods for operators."""

import msgspec
import pytest

from hsrv.rpc import operator
from hsrv.rpc.methods import Method
from hsrv.rpc.operator import METHODS, LogLevelParams, PrestopParams, ScaleParams, StatusParams


def test_the_table_has_every_method_once() -> None:
    declared = {value.name for value in vars(operator).values() if isinstance(value, Method)}
    assert {method.name for method in METHODS} == declared
    assert len(METHODS) == len(declared)


@pytest.mark.parametrize("params", [StatusParams, ScaleParams, operator.StacksParams, operator.StopParams])
def test_all_of_its_parameters_may_be_left_out(params: type[msgspec.Struct]) -> None:
    assert msgspec.convert({}, params) == params()


def test_a_stop_waits_for_requests_unless_asked_otherwise() -> None:
    assert not operator.StopParams().now
    assert not operator.ReloadParams().wait


@pytest.mark.parametrize(
    ("params", "given"),
    [
        (LogLevelParams, {"level": "critical"}),
        (ScaleParams, {"workers": "2"}),
        (PrestopParams, {"delay": 1.0, "quiet": 1.0}),
    ],
)
def test_wrong_or_missing_parameters_are_refused(
    params: type[msgspec.Struct], given: dict[str, object]
) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, params)
