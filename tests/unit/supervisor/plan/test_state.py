"""Who may change the plan."""

import inspect

import pytest

from hsrv.supervisor.plan.actions import (
    Actions,
)
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.state import View
from tests.unit.supervisor.plan.fleets import (
    Fleet,
)


@pytest.mark.parametrize("name", [name for name, one in vars(View).items() if isinstance(one, property)])
def test_nobody_else_writes_into_it(fleet: Fleet, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(fleet.plan, name, getattr(fleet.plan, name))


@pytest.mark.parametrize("name", [name for name in vars(Plan) if not name.startswith("_")])
def test_an_event_takes_effect_whether_or_not_its_actions_are_taken(name: str) -> None:
    event = vars(Plan)[name]
    assert not inspect.isgeneratorfunction(event)
    assert inspect.signature(event).return_annotation in (Actions, None, float)
