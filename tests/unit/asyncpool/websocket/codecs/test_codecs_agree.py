"""Whatever arrives, in whatever pieces: after every piece both codecs have made the same of it, or refuse it alike.

A few hundred streams each time; with HSRV_TEST_LONG=1 a million. The streams are those of `make fuzz`.
"""

import pytest
from hypothesis import given, seed, settings

from hsrv.asyncpool.websocket.codecs.codec import CODECS
from hsrv.asyncpool.websocket.codecs.events import Close, Ping, Pong, Received
from tests.conftest import LONG
from tests.fuzz.frames import TARGET, Input, agreed

STREAMS = 2000 if LONG else 500
"""In one run of hypothesis: it remembers what it tried, and of a million at once it would be too much."""
RUNS = 500 if LONG else 1
SEEDS = 5


@pytest.mark.parametrize("run", range(RUNS))
def test_both_make_the_same_of_any_stream(run: int) -> None:
    TARGET.test(run, STREAMS)()


def test_there_are_two_to_compare() -> None:
    assert sorted(CODECS) == ["frames", "wsproto"]


def test_the_streams_reach_every_event_and_every_refusal() -> None:
    """Else the test above would say little. What one seed reaches depends on the constants of all loaded modules, which
    hypothesis tries: hence several seeds."""
    wanted = {0, 1002, 1007, 1009, Ping, Pong, Close, str, bytes, "large", "several"}
    reached: set[object] = set()

    @settings(max_examples=500, database=None, deadline=None)
    @given(data=TARGET.strategy)
    def look(data: Input) -> None:
        stream, _, terms, limit = data
        events, code = agreed([stream], terms, limit)
        reached.add(code)
        reached.update(type(event) for event in events)
        reached.update(type(event.data) for event in events if isinstance(event, Received))
        reached.update("large" for event in events if isinstance(event, Received) and event.size > 65_535)
        reached.update("several" for event in events[1:] if isinstance(event, Received))

    for number in range(SEEDS):
        seed(number)(look)()
        if reached >= wanted:
            return
    assert reached >= wanted
