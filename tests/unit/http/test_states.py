"""The table of a connection's life, cell by cell."""

import ast
import re
from pathlib import Path

import pytest

from hsrv.common.tables import IllegalMoveError
from hsrv.http import bodies, connection, ending
from hsrv.http.states import GIVEABLE, MOVES, OVER, ROWS, Event, Lateness, State
from hsrv.options.config import Config
from tests.unit.http.fakehost import serving

ROOT = Path(__file__).parents[3]
CELLS = [(state, event) for state in State for event in Event]


@pytest.mark.parametrize(("state", "event"), CELLS)
def test_a_connection_moves_by_the_table_and_an_illegal_move_changes_nothing(
    state: State, event: Event
) -> None:
    with serving(started=False) as served:
        served.connection.state = state
        if event in MOVES[state]:
            served.move(event)
            assert served.state is MOVES[state][event]
        else:
            with pytest.raises(IllegalMoveError, match=event.name):
                served.move(event)
            assert served.state is state
        served.connection.state = State.IDLE


def test_every_state_is_in_the_table_and_is_reached() -> None:
    assert ROWS.keys() == set(State)
    reached = {State.PREFACE, State.IDLE}
    for _ in State:
        reached |= {target for state in reached for target in MOVES[state].values()}
    assert reached == set(State)


def test_whatever_is_not_over_can_end_and_what_is_over_moves_no_more() -> None:
    for state in State:
        if state in OVER:
            assert not MOVES[state]
        else:
            assert MOVES[state][Event.ENDED] is State.CLOSED


def test_only_a_connection_without_a_request_or_with_one_that_was_not_run_is_given_away() -> None:
    giving = {state for state in State if Event.GIVEN in MOVES[state]}
    assert giving == {*GIVEABLE, State.WAITING}


def test_every_state_is_limited_by_an_option_or_a_constant_that_exists() -> None:
    constants = {
        name: value for module in (bodies, connection, ending) for name, value in vars(module).items()
    }
    for state, row in ROWS.items():
        assert bool(row.deadlines) is (row.late is not Lateness.NEVER), state
        for name in row.deadlines:
            assert isinstance(getattr(Config(), name, constants.get(name)), float | int), name


LIFE = ("bodies", "connection", "contract", "ending", "moving", "preface")


def test_nothing_but_move_assigns_the_state() -> None:
    """And the constructor, the first one."""
    files = [ROOT / "hsrv" / "http" / f"{name}.py" for name in LIFE]
    found = [
        (path.stem, function.name)
        for path in files
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr == "state" and isinstance(node.ctx, ast.Store)
    ]
    assert found == [("contract", "__init__"), ("contract", "move")]
    for path in (*(ROOT / "worker").glob("*.py"), *(ROOT / "asyncpool").glob("*.py")):
        assert not re.search(r"connection\.state\s*=[^=]", path.read_text()), path
