"""The tables with a WSGI application, in a worker and in the pool: what it may have seen, and what it may send."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from tests.conformance import chunked, framing, limits, smuggling
from tests.conformance.case import Answer, Case, Seen
from tests.conformance.conftest import serving
from tests.conformance.runner import PLACES, World, failures
from tests.conformance.test_conformance import BATCH, THEMES
from tests.conformance.wsgi_app import NOT_OF_WSGI


@pytest.fixture(scope="module")
def wsgi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(
        tmp_path_factory.mktemp("w"), app="tests.conformance.wsgi_app:app", **limits.OPTIONS
    ) as world:
        yield world


def translated(case: Case) -> Case | None:
    """The row as WSGI has it. None: there is no such thing."""
    path = next((answer.call for answer in case.answers if answer.call is not None), "")
    if path.partition("/respond/")[2] in NOT_OF_WSGI:
        return None
    if path and "Expect: " in case.data:
        return None  # who answers without reading the body: WSGI has it whole
    if "upgrade: websocket" in case.data.lower():
        return None  # a request like any other, and so is what follows it
    log = "application raised" if case.log is not None else None
    return replace(case, answers=tuple(map(_answer, case.answers)), log=log)


def _answer(answer: Answer) -> Answer:
    return answer if answer.seen is None else replace(answer, seen=_seen(answer.seen))


def _seen(seen: Seen) -> Seen:
    """Fields of one name are one variable, and a body has a length, whatever its coding was."""
    headers = {name: value and value.replace("|", ",") for name, value in seen.headers.items()}
    for name in ("transfer-encoding", "content-length", "proxy"):
        headers.pop(name, None)
    return replace(seen, headers=headers)


IN_THE_POOL = (framing, chunked, smuggling)
"""Tables that are tried there too: how bodies are read. What becomes of a head is decided in a worker."""


def _batches() -> Iterator[object]:
    for theme in THEMES:
        cases = [case for one in theme.CASES if (case := translated(one)) is not None]
        for first in range(0, len(cases), BATCH):
            for place in PLACES if theme in IN_THE_POOL else ("worker",):
                name = f"{theme.__name__.rpartition('.')[2]}-{first}-{place}"
                yield pytest.param(cases[first : first + BATCH], place, id=name)


@pytest.mark.parametrize(("cases", "place"), list(_batches()))
def test_every_split_has_the_outcome_of_the_table(cases: Sequence[Case], place: str, wsgi: World) -> None:
    found = failures(cases, place, wsgi)
    assert not found, "\n".join(["", *found])


def test_most_rows_are_about_wsgi_too() -> None:
    rows = [translated(case) for theme in THEMES for case in theme.CASES]
    assert len(rows) - rows.count(None) >= 250
