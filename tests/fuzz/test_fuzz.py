"""A short run of each target. `make fuzz` is the long one."""

import pytest

from tests.fuzz.table import TARGETS

SEED = 1


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_unexpected_comes_of_anything(name: str) -> None:
    TARGETS[name].test(SEED, TARGETS[name].short)()
