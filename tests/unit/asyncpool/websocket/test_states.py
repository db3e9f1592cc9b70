"""Both tables, cell by cell."""

from itertools import product

import pytest

from hsrv.asyncpool.websocket.states import SAID, WIRE, Said, Say, Turn, Wire
from hsrv.common.tables import IllegalMoveError, Machine

LEGAL_SAID: dict[tuple[Said, Say], Said] = {
    (Said.CONNECTING, Say.ACCEPT): Said.ACCEPTED,
    (Said.CONNECTING, Say.CLOSE): Said.ENDED,
    (Said.CONNECTING, Say.RESPOND): Said.RESPONDING,
    (Said.ACCEPTED, Say.SEND): Said.ACCEPTED,
    (Said.ACCEPTED, Say.CLOSE): Said.ENDED,
    (Said.RESPONDING, Say.BODY): Said.RESPONDING,
    (Said.RESPONDING, Say.LAST_BODY): Said.ENDED,
}

LEGAL_WIRE: dict[tuple[Wire, Turn], Wire] = {
    (Wire.UNANSWERED, Turn.ACCEPTED): Wire.OPEN,
    (Wire.UNANSWERED, Turn.RESPONSE_BEGUN): Wire.RESPONDING,
    (Wire.UNANSWERED, Turn.FINISHED): Wire.LINGERING,
    (Wire.RESPONDING, Turn.FINISHED): Wire.LINGERING,
    (Wire.OPEN, Turn.CLOSE_SENT): Wire.CLOSING,
    (Wire.OPEN, Turn.FINISHED): Wire.LINGERING,
    (Wire.CLOSING, Turn.FINISHED): Wire.LINGERING,
    **{(state, Turn.LOST): Wire.CLOSED for state in Wire if state is not Wire.CLOSED},
}


@pytest.mark.parametrize(("state", "say"), list(product(Said, Say)))
def test_the_application_may_say_only_what_the_table_allows(state: Said, say: Say) -> None:
    machine = Machine(SAID, state)
    if (state, say) in LEGAL_SAID:
        assert machine.move(say) is LEGAL_SAID[state, say]
    else:
        with pytest.raises(IllegalMoveError):
            machine.move(say)


@pytest.mark.parametrize(("state", "turn"), list(product(Wire, Turn)))
def test_the_connection_moves_only_as_the_table_allows(state: Wire, turn: Turn) -> None:
    machine = Machine(WIRE, state)
    if (state, turn) in LEGAL_WIRE:
        assert machine.move(turn) is LEGAL_WIRE[state, turn]
    else:
        with pytest.raises(IllegalMoveError):
            machine.move(turn)
