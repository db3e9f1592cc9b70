"""Every case of the tables, in a worker and in the pool, in every split."""

from collections import Counter
from collections.abc import Sequence

import pytest

from tests.conformance import (
    chunked,
    connection,
    fields,
    framing,
    host_and_target,
    limits,
    request_line,
    responses,
    smuggling,
)
from tests.conformance.case import Case
from tests.conformance.runner import PLACES, World, failures
from tests.conftest import LONG

THEMES = (request_line, host_and_target, fields, framing, chunked, connection, limits, smuggling, responses)


BATCH = 16
"""Cases that run at the same time: one test."""


def _batches() -> list[object]:
    return [
        pytest.param(theme.CASES[first : first + BATCH], id=f"{theme.__name__.rpartition('.')[2]}-{first}")
        for theme in THEMES
        for first in range(0, len(theme.CASES), BATCH)
    ]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("cases", _batches())
def test_every_split_has_the_outcome_of_the_table(cases: Sequence[Case], place: str, world: World) -> None:
    found = failures(cases, place, world)
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("cases", _batches())
def test_so_it_has_when_the_pool_reads_the_heads_of_what_a_worker_runs(
    cases: Sequence[Case], late: World
) -> None:
    found = failures(cases, "worker", late, every_split=LONG)
    assert not found, "\n".join(["", *found])


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    for theme in THEMES:
        twice = [name for name, times in Counter(case.name for case in theme.CASES).items() if times > 1]
        assert not twice, theme.__name__
    assert sum(len(theme.CASES) for theme in THEMES) >= 250
    assert len(smuggling.CASES) >= 80
