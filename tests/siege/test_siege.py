"""The small siege: that everybody is treated as he must be. How fast is a matter of `make siege`."""

import pytest

from tests.siege.siege import besiege, fortress, wrongs

MIB = 1024 * 1024
COUNTS = {"slow heads": 200, "slow bodies": 50, "slow readers": 50, "idle": 50}

MEMORY_EACH = 512 * 1024
"""Bytes that a besieger may cost: what is read ahead of him, and what waits for him to take it."""


@pytest.mark.integration
def test_a_siege_cuts_the_besiegers_and_nobody_else() -> None:
    patience = {"header_timeout": 2, "body_timeout": 2, "send_timeout": 2, "keep_alive": 2}
    with fortress(**patience) as server:
        outcome = besiege(server, COUNTS, seconds=1)
    assert not list(wrongs(outcome))
    assert len(outcome.besieged) > 10
    assert outcome.memory_most - outcome.memory_before < sum(COUNTS.values()) * MEMORY_EACH
    assert max(outcome.longest.values()) < 60
