"""How a connection enters: limits, PROXY protocol, 503."""

import socket

import pytest

from hsrv.board.census import CensusKind
from hsrv.common.terms import EndReason, ProxyProtocol
from hsrv.http.contract import Outcome
from hsrv.http.states import State
from hsrv.ipc.messages import Origin
from hsrv.net.conn import Conn
from hsrv.serving.admission import TURNED_AWAY_LIMIT
from hsrv.worker.worker import Worker
from tests.unit.serving.inmemory import GET, Serving, serving

ORIGIN = Origin(client=("192.0.2.1", 1), server=None, accepted_at=0.0)
PROXY = b"PROXY TCP4 203.0.113.9 192.0.2.2 1234 80\r\n"


def accepted(
    served: Serving[Worker], origin: Origin = ORIGIN, data: bytes = b""
) -> tuple[Outcome, socket.socket]:
    ours, client = served.pair()
    ours.setblocking(False)
    client.sendall(data)
    return served.do(lambda: served.role.admission.accepted(ours, origin, at_once=True)), client


def test_a_connection_that_is_answered_and_over_at_once_costs_no_turn_of_the_loop() -> None:
    with serving(Worker) as served:
        outcome, client = accepted(served, data=GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert outcome is Outcome.OVER
        served.read(client, b"done")
        assert accepted(served, data=GET)[0] is Outcome.HERE


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("limit_connections", EndReason.LIMIT_CONNECTIONS),
        ("limit_connections_per_client", EndReason.LIMIT_CLIENT),
    ],
)
def test_over_a_limit_it_gets_503_and_does_not_count(option: str, reason: EndReason) -> None:
    with serving(Worker, **{option: 1}) as served:
        accepted(served)
        _, refused = accepted(served, data=GET)
        assert b"retry-after: 1" in served.read(refused, b"Unavailable\n")
        assert served.app.calls == []
        assert served.report().ended == {str(reason): 1}
        census = served.role.host.census
        assert census is not None
        assert census.total(CensusKind.CONNECTIONS) == 1
        if reason is EndReason.LIMIT_CLIENT:
            other = Origin(client=("192.0.2.7", 1), server=None, accepted_at=0.0)
            served.read(accepted(served, other, GET)[1], b"done")


def test_of_many_that_are_refused_only_some_have_the_time_to_read_why() -> None:
    with serving(Worker, limit_connections=1) as served:
        accepted(served)
        told = [accepted(served)[1] for _ in range(TURNED_AWAY_LIMIT)]
        _, cut = accepted(served)
        served.read(told[0], b"Unavailable\n")
        served.read(cut, b"")
        told[0].close()
        served.until(lambda: len(served.role.host.connections) == TURNED_AWAY_LIMIT)
        served.read(accepted(served)[1], b"Unavailable\n")


def test_who_is_no_proxy_is_closed_where_a_header_is_required() -> None:
    with serving(Worker, proxy_protocol=ProxyProtocol.V1, proxy_protocol_from=("192.0.2.9",)) as served:
        outcome, client = accepted(served)
        assert outcome is Outcome.REFUSED
        served.read(client, b"")
        assert served.report().ended == {str(EndReason.UNTRUSTED_PEER): 1}
        proxy = Origin(client=("192.0.2.9", 1), server=None, accepted_at=0.0)
        served.read(accepted(served, proxy, PROXY + GET)[1], b"done")


def test_the_client_behind_a_proxy_is_the_one_that_is_limited() -> None:
    options = {
        "proxy_protocol": ProxyProtocol.V1,
        "proxy_protocol_from": ("*",),
        "limit_connections_per_client": 1,
    }
    with serving(Worker, **options) as served:
        served.read(accepted(served, data=PROXY + GET)[1], b"done")
        served.read(accepted(served, data=PROXY + GET)[1], b"Unavailable\n")
        served.read(accepted(served, data=PROXY.replace(b"113.9", b"113.8") + GET)[1], b"done")


def test_without_descriptors_it_is_answered_unread_and_closed_without_a_reset() -> None:
    with serving(Worker) as served:
        ours, client = served.pair()
        ours.setblocking(False)
        client.sendall(GET)
        served.do(served.role.admission.refuse_unread, ours, ORIGIN)
        answer = served.read(client, b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer
        assert served.report().ended == {str(EndReason.DESCRIPTORS): 1}


def test_one_from_another_process_counts_and_is_not_refused() -> None:
    with serving(Worker, limit_connections=1) as served:
        accepted(served)
        ours, client = served.pair()
        ours.setblocking(False)
        connection = served.do(lambda: served.role.admission.enter(Conn(ours, served.loop, ORIGIN)))
        served.do(connection.start)
        served.ask(client)
        assert connection.state is State.IDLE
        census = served.role.host.census
        assert census is not None
        assert census.total(CensusKind.CONNECTIONS) == 2
