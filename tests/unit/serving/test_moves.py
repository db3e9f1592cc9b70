"""Idle connections move for a reason, or stay when there is no room."""

import pytest

from hsrv.board.layout import Count
from hsrv.http.contract import Outcome
from hsrv.ipc.channel import ChannelFull
from hsrv.ipc.messages import ConnectionHandoff, ParkedHandoff
from hsrv.serving.moves import Moves, Reason
from hsrv.worker.worker import Worker
from tests.unit.serving.inmemory import GET, Serving, serving


def moves_of(served: Serving[Worker]) -> Moves:
    return Moves(served.handoffs[0], served.adopted[0], served.role.host.board)


@pytest.mark.parametrize(
    ("reason", "kind", "count"),
    [
        (Reason.IDLE, ParkedHandoff, Count.PARKED),
        (Reason.LONG, ParkedHandoff, Count.PARKED),
        (Reason.BLOCKED, ParkedHandoff, Count.RESCUED),
        (Reason.DRAIN, ConnectionHandoff, None),
    ],
)
def test_each_reason_has_its_way_and_its_count(reason: Reason, kind: type, count: Count | None) -> None:
    with serving(Worker) as served:
        served.ask(served.connect())
        [connection] = served.role.host.connections
        served.role._adoptions.close()
        assert served.do(moves_of(served).move, connection, reason) is Outcome.ELSEWHERE
        ways = served.handoffs[1] if kind is ParkedHandoff else served.adopted[1]
        assert isinstance(served.packet(ways)[0], kind)
        assert [one for one in (Count.PARKED, Count.RESCUED) if served.count(one)] == (
            [] if count is None else [count]
        )


@pytest.mark.parametrize("reason", Reason)
def test_without_room_it_stays_and_is_served(reason: Reason) -> None:
    with serving(Worker) as served:
        served.role._adoptions.close()
        client = served.connect()
        served.ask(client)
        for channel in (served.handoffs[0], served.adopted[0]):
            for size in (30_000, 1):
                with pytest.raises(ChannelFull):
                    while True:
                        channel.send(b"x" * size)
        [connection] = served.role.host.connections
        assert served.do(moves_of(served).move, connection, reason) is Outcome.HERE
        served.ask(client, GET)
        assert served.do(moves_of(served).move_all, [connection], reason) == 0
