"""A short storm. `make chaos` is the long one."""

import pytest

from tests.chaos.profiles import PROFILES
from tests.chaos.storm import Storm


@pytest.mark.integration
def test_a_short_storm_breaks_no_promise() -> None:
    storm = Storm(PROFILES["kills"], seed=1, seconds=4)
    violations = storm.run()
    assert not violations, storm.report(violations)
    assert len(storm.timeline.requests) > 100
    assert storm.timeline.kills
