"""Every case of the tables, in a worker and in the pool, in every split."""

from collections import Counter

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

THEMES = (request_line, host_and_target, fields, framing, chunked, connection, limits, smuggling, responses)


def _params() -> list[object]:
    return [
        pytest.param(case, id=f"{theme.__name__.rpartition('.')[2]}: {ascii(case.name)[1:-1]}")
        for theme in THEMES
        for case in theme.CASES
    ]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", _params())
def test_case(case: Case, place: str, world: World) -> None:
    found = failures(case, place, world)
    assert not found, "\n".join([*found, repr(case.data[:500])])


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    for theme in THEMES:
        twice = [name for name, times in Counter(case.name for case in theme.CASES).items() if times > 1]
        assert not twice, theme.__name__
    assert sum(len(theme.CASES) for theme in THEMES) >= 250
    assert len(smuggling.CASES) >= 80
