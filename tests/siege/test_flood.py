"""The small flood: that it is ended, and leaves nothing. How late others are is a matter of `make siege`."""

import pytest

from tests.siege.flood import flood, unended
from tests.siege.siege import fortress

MIB = 1024 * 1024
COUNTS = {
    "unfinished": 4,
    "uncompressed": 2,
    "pings": 2,
    "empty fragments": 2,
    "small fragments": 1,
    "bombs": 4,
    "computing": 2,
    "small chunks": 4,
}

ROOM = 32 * MIB
"""What the pool may hold of messages. They would have it hold 160 MiB and more."""


@pytest.mark.integration
def test_a_flood_is_ended_and_leaves_nothing() -> None:
    with fortress(ws_memory=ROOM, ws_max_message=ROOM // 2) as server:
        outcome = flood(server, COUNTS, seconds=1, quiet=0.2)
    assert not outcome.failures
    assert len(outcome.gaps) > 5
    assert not list(unended(outcome))
    assert outcome.memory_most < outcome.memory_before + 3 * ROOM
    assert outcome.memory_after < outcome.memory_before + ROOM // 2
