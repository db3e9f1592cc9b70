"""What tests of the plan share."""

import pytest

from tests.unit.supervisor.plan.fleets import Fleet


@pytest.fixture
def fleet() -> Fleet:
    """Two workers and a pool, serving."""
    fleet = Fleet()
    fleet.serve()
    return fleet
