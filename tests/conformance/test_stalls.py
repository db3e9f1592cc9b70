"""Requests that never end, at a server with short timeouts."""

from collections.abc import Iterator

import pytest

from tests.conformance import stalls
from tests.conformance.conftest import serving
from tests.conformance.runner import PLACES, World, failures


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    timeouts = {"header_timeout": 0.3, "body_timeout": 0.3, "keep_alive": 0.3}
    with serving(tmp_path_factory.mktemp("w"), **timeouts) as world:
        yield world


@pytest.mark.parametrize("place", PLACES)
def test_stalls(place: str, world: World) -> None:
    found = failures(stalls.CASES, place, world)
    assert not found, "\n".join(found)
