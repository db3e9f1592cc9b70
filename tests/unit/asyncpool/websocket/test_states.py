"""Both tables, cell by cell."""

from itertools import product

import pytest

from hsrv.asyncpool.websocket.states import (
    APP_STATES,
    CONNECTION_STATES,
    AppMessage,
    AppState,
    ConnectionEvent,
    ConnectionState,
)
from hsrv.common.tables import IllegalMoveError, Machine

LEGAL_SAID: dict[tuple[AppState, AppMessage], AppState] = {
    (AppState.CONNECTING, AppMessage.ACCEPT): AppState.ACCEPTED,
    (AppState.CONNECTING, AppMessage.CLOSE): AppState.ENDED,
    (AppState.CONNECTING, AppMessage.RESPOND): AppState.RESPONDING,
    (AppState.ACCEPTED, AppMessage.SEND): AppState.ACCEPTED,
    (AppState.ACCEPTED, AppMessage.CLOSE): AppState.ENDED,
    (AppState.RESPONDING, AppMessage.BODY): AppState.RESPONDING,
    (AppState.RESPONDING, AppMessage.LAST_BODY): AppState.ENDED,
}

LEGAL_WIRE: dict[tuple[ConnectionState, ConnectionEvent], ConnectionState] = {
    (ConnectionState.UNANSWERED, ConnectionEvent.ACCEPTED): ConnectionState.OPEN,
    (ConnectionState.UNANSWERED, ConnectionEvent.RESPONSE_BEGUN): ConnectionState.RESPONDING,
    (ConnectionState.UNANSWERED, ConnectionEvent.FINISHED): ConnectionState.LINGERING,
    (ConnectionState.RESPONDING, ConnectionEvent.FINISHED): ConnectionState.LINGERING,
    (ConnectionState.OPEN, ConnectionEvent.CLOSE_SENT): ConnectionState.CLOSING,
    (ConnectionState.OPEN, ConnectionEvent.FINISHED): ConnectionState.LINGERING,
    (ConnectionState.CLOSING, ConnectionEvent.FINISHED): ConnectionState.LINGERING,
    **{
        (state, ConnectionEvent.LOST): ConnectionState.CLOSED
        for state in ConnectionState
        if state is not ConnectionState.CLOSED
    },
}


@pytest.mark.parametrize(("state", "say"), list(product(AppState, AppMessage)))
def test_the_application_may_say_only_what_the_table_allows(state: AppState, say: AppMessage) -> None:
    machine = Machine(APP_STATES, state)
    if (state, say) in LEGAL_SAID:
        assert machine.move(say) is LEGAL_SAID[state, say]
    else:
        with pytest.raises(IllegalMoveError):
            machine.move(say)


@pytest.mark.parametrize(("state", "turn"), list(product(ConnectionState, ConnectionEvent)))
def test_the_connection_moves_only_as_the_table_allows(state: ConnectionState, turn: ConnectionEvent) -> None:
    machine = Machine(CONNECTION_STATES, state)
    if (state, turn) in LEGAL_WIRE:
        assert machine.move(turn) is LEGAL_WIRE[state, turn]
    else:
        with pytest.raises(IllegalMoveError):
            machine.move(turn)
