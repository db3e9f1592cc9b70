"""The table of a generation."""

import itertools

import pytest

from hsrv.common.tables import IllegalMoveError, Machine
from hsrv.supervisor.plan.fleet import GENERATION, Gen, GenEvent


@pytest.mark.parametrize(("state", "event"), list(itertools.product(Gen, GenEvent)))
def test_every_move_of_a_generation_is_in_the_table_or_raises(state: Gen, event: GenEvent) -> None:
    machine = Machine(GENERATION, state)
    allowed = GENERATION[state]
    if event in allowed:
        assert machine.move(event) is allowed[event]
    else:
        with pytest.raises(IllegalMoveError):
            machine.move(event)
        assert machine.state is state
