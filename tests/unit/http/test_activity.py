"""What a process is busy with, in words."""

from hsrv.common.terms import EndReason
from hsrv.http.activity import PATH_LIMIT, Activity, activities, by_path, oldest
from hsrv.http.contract import Outcome
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import State
from hsrv.http.wire.body import body_decoder
from hsrv.http.wire.response import ResponseEncoder
from hsrv.rpc.methods import REPORT_LIMIT
from tests.unit.http.fakehost import Served, serving

ASK = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"


def one(began: float, pattern: str = "") -> Activity:
    return Activity(
        began, "stream" if pattern else "request", "running", None, None, ("2001:db8::1", 5), pattern
    )


def found_in(served: Served, *, running: set[Exchange] | None = None) -> list[Activity]:
    return list(activities([served.connection], running or set(), lambda exchange: exchange.is_stream))


def test_a_connection_at_rest_is_no_activity() -> None:
    with serving() as served:
        assert found_in(served) == []
        with served.host.turn:
            served.connection.close(EndReason.DRAINED)
        assert found_in(served) == []


def test_half_a_head_is_a_connection_and_a_request_that_waits_is_one() -> None:
    with serving() as served:
        served.host.decides["take"] = lambda _: Outcome.LATER
        served.say(b"GET /a")
        served.reach(State.READING)
        assert [(found.kind, found.state) for found in found_in(served)] == [("connection", "reading")]
        served.say(b"b HTTP/1.1\r\nHost: a\r\n\r\n")
        served.reach(State.WAITING)
        [waiting] = found_in(served)
        [shown] = oldest([waiting], waiting.began + 2.0)
        assert (shown.kind, shown.state, shown.method, shown.path) == ("request", "waiting", "GET", "/ab")
        assert (shown.client, shown.seconds) == ("192.0.2.1:1", 2.0)


def test_a_call_that_outlives_its_connection_is_shown_once() -> None:
    with serving() as served:
        served.host.decides["take"] = lambda _: Outcome.LATER
        served.say(ASK % b"x")
        served.reach(State.WAITING)
        exchange = _exchange_of(served)
        served.connection.exchange = exchange
        assert len(found_in(served, running={exchange})) == 1
        served.connection.exchange = None
        served.connection.waiting = None
        states = {found.state for found in found_in(served, running={exchange})}
        assert "response over, application runs" in states


def _exchange_of(served: Served) -> Exchange:
    assert served.connection.waiting is not None
    head, trace = served.connection.waiting
    encoder = ResponseEncoder("GET", "1.1", keep_alive=True)
    return Exchange(served.connection, head, trace, body_decoder(head, 10), encoder, started_at=0.0)


def test_only_the_oldest_are_told() -> None:
    shown = oldest([one(float(began)) for began in reversed(range(2 * REPORT_LIMIT))], 1000.0)
    assert [running.seconds for running in shown] == [1000.0 - began for began in range(REPORT_LIMIT)]


def test_streams_are_told_by_path_those_with_most_first() -> None:
    many = [one(5.0, f"/{n}") for n in range(2 * REPORT_LIMIT)] + [one(7.0, "/most"), one(3.0, "/most")]
    told = by_path([*many, one(1.0)], 10.0)
    assert len(told) == REPORT_LIMIT
    assert (told["/most"].count, told["/most"].oldest) == (2, 7.0)


def test_a_long_path_is_cut() -> None:
    [path] = by_path([one(0.0, "/" + "a" * 10_000)], 1.0)
    assert len(path) == PATH_LIMIT
