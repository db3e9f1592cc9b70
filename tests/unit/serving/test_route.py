"""Where a request runs."""

import msgspec
import pytest

from hsrv.common.globs import PASSING_SECONDS, LearnedPaths, PassingPaths
from hsrv.common.request import RequestHead
from hsrv.serving.route import Placement, StreamPolicy, route

PLAIN = RequestHead(
    method="GET",
    target=b"/events",
    path="/events",
    raw_path=b"/events",
    query=b"",
    http_version="1.1",
    headers=[],
    content_length=None,
    chunked=False,
    keep_alive=True,
    expect_continue=False,
    websocket=False,
    event_stream=False,
)
NOTHING = LearnedPaths()
LEARNED = LearnedPaths()
LEARNED.add(["/events"])
MATCH, OTHER = ["/ev*"], ["/other"]


@pytest.mark.parametrize(
    ("head", "stream", "no_stream", "learned", "expected"),
    [
        ({}, [], [], NOTHING, Placement.HERE),
        ({"websocket": True}, [], [], NOTHING, Placement.POOL),
        ({"websocket": True}, [], MATCH, NOTHING, Placement.POOL),
        ({"event_stream": True}, [], [], NOTHING, Placement.POOL),
        ({"event_stream": True}, [], MATCH, NOTHING, Placement.HERE),
        ({}, MATCH, [], NOTHING, Placement.POOL),
        ({}, MATCH, MATCH, NOTHING, Placement.HERE),
        ({}, OTHER, [], NOTHING, Placement.HERE),
        ({}, [], [], LEARNED, Placement.POOL),
        ({}, [], MATCH, LEARNED, Placement.HERE),
        ({}, [], OTHER, LEARNED, Placement.POOL),
    ],
)
def test_the_first_rule_that_applies_wins(
    head: dict[str, bool], stream: list[str], no_stream: list[str], learned: LearnedPaths, expected: Placement
) -> None:
    request = msgspec.structs.replace(PLAIN, **head)
    assert route(request, StreamPolicy(stream, no_stream), learned, PassingPaths(), 0.0) is expected


def test_a_claim_counts_for_nothing_where_it_was_found_to_be_wrong() -> None:
    claim, plain = msgspec.structs.replace(PLAIN, event_stream=True), PassingPaths()
    plain.add(["/events"], 0.0)

    def where(now: float, stream: list[str] = OTHER, learned: LearnedPaths = NOTHING) -> Placement:
        return route(claim, StreamPolicy(stream, []), learned, plain, now)

    assert where(0.0) is Placement.HERE
    assert where(0.0, MATCH) is where(0.0, OTHER, LEARNED) is Placement.POOL
    assert where(PASSING_SECONDS + 1) is Placement.HERE
    assert where(2 * PASSING_SECONDS + 2) is Placement.POOL, "forgotten"
    plain.add(["/events"], 3 * PASSING_SECONDS)
    assert where(10 * PASSING_SECONDS) is Placement.POOL
