"""Requests that were sent to a pool for their Accept alone: which paths are reported, and what is logged."""

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from hsrv.asyncpool.claims import FOUND_LIMIT, StreamClaims, UnansweredRequests
from hsrv.board.census import Census, CensusKind
from hsrv.common.globs import PATTERN_LIMIT
from hsrv.common.terms import EndReason
from hsrv.http.request.exchange import Exchange
from hsrv.ipc.messages import Trace
from hsrv.options.config import Config


class Encoder:
    def __init__(self, status: int, *, event_stream: bool = False, complete: bool = False) -> None:
        self.status = status
        self.event_stream = event_stream
        self.complete = complete


class Head:
    def __init__(self, method: str, path: str, *, event_stream: bool) -> None:
        self.method = method
        self.path = path
        self.event_stream = event_stream


class Request:
    """What claims read of an exchange."""

    def __init__(
        self,
        path: str = "/report",
        *,
        method: str = "GET",
        status: int = 200,
        asked: bool = True,
        is_stream: bool = False,
        event_stream: bool = False,
        complete: bool = False,
    ) -> None:
        self.head = Head(method, path, event_stream=asked)
        self.encoder = Encoder(status, event_stream=event_stream, complete=complete)
        self.is_stream = is_stream
        self.trace = Trace(request_id="r-1")

    def pattern(self) -> str:
        return self.head.path


def exchange(*path: str, **what: Any) -> Exchange:
    return cast("Exchange", Request(*path, **what))


@pytest.fixture
def claims() -> StreamClaims:
    return StreamClaims(Config(stream=("/events*",)))


def test_a_success_that_was_no_stream_is_reported_once(claims: StreamClaims) -> None:
    claims.finished(exchange("/b"), EndReason.COMPLETED)
    claims.finished(exchange("/a"), EndReason.COMPLETED)
    claims.finished(exchange("/a"), EndReason.COMPLETED)
    assert claims.take() == ["/a", "/b"]
    assert claims.take() == []


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"asked": False}, EndReason.COMPLETED),
        ({"is_stream": True}, EndReason.COMPLETED),
        ({"event_stream": True}, EndReason.COMPLETED),
        ({"status": 199}, EndReason.COMPLETED),
        ({"status": 302}, EndReason.COMPLETED),
        ({"status": 404}, EndReason.COMPLETED),
        ({"method": "HEAD"}, EndReason.COMPLETED),
        ({"method": "OPTIONS"}, EndReason.COMPLETED),
        ({"path": "/events/1"}, EndReason.COMPLETED),
        ({"path": "/" + "x" * PATTERN_LIMIT}, EndReason.COMPLETED),
        ({}, EndReason.CLIENT_GONE),
    ],
)
def test_anything_else_says_nothing_of_its_path(
    what: dict[str, Any], reason: EndReason, claims: StreamClaims
) -> None:
    claims.finished(exchange(**what), reason)
    assert claims.take() == []


def test_clients_cannot_make_it_remember_more_than_the_limit(claims: StreamClaims) -> None:
    for n in range(2 * FOUND_LIMIT):
        claims.finished(exchange(f"/{n}"), EndReason.COMPLETED)
    assert len(claims.take()) == FOUND_LIMIT


def test_only_the_operator_declares_a_stream(claims: StreamClaims) -> None:
    assert claims.is_given(exchange("/events/1"))
    assert not claims.is_given(exchange("/report"))


def test_a_call_that_blocks_the_loop_is_logged_once_per_path_with_what_helps(claims: StreamClaims) -> None:
    with capture_logs() as logs:
        claims.report_busy(exchange("/report"))
        claims.report_busy(exchange("/report"))
        claims.report_busy(exchange("/feed", is_stream=True))
    assert [(line["path"], line["hint"]) for line in logs] == [
        ("/report", "--no-stream '/report'"),
        ("/feed", "let it compute in a thread"),
    ]


class Counts:
    def __init__(self) -> None:
        self.requests = -1

    def set(self, kind: CensusKind, count: int) -> None:
        assert kind is CensusKind.REQUESTS
        self.requests = count


def test_a_request_counts_until_it_is_a_stream_complete_or_over() -> None:
    counts = Counts()
    unanswered = UnansweredRequests(cast("Census", counts))
    calls = [Request(f"/{n}") for n in range(4)]
    for call in calls:
        unanswered.add(cast("Exchange", call))
    unanswered.add(cast("Exchange", calls[0]))
    assert counts.requests == 4
    calls[0].is_stream = True
    calls[1].encoder.complete = True
    for call in calls[:2]:
        unanswered.add(cast("Exchange", call))
    assert counts.requests == 2
    unanswered.discard(cast("Exchange", calls[2]))
    unanswered.discard(cast("Exchange", calls[2]))
    assert counts.requests == 1
