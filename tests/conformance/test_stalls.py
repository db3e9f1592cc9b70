"""Requests that never end, at a server with short timeouts."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance import stalls
from tests.conformance.conftest import serving
from tests.conformance.runner import PLACES, World, failures


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    timeouts: dict[str, Any] = {"header_timeout": 1.5, "body_timeout": 1.5, "keep_alive": 1.5}
    with serving(tmp_path_factory.mktemp("w"), **timeouts) as world:
        yield world


@pytest.mark.parametrize("place", PLACES)
def test_stalls(place: str, world: World) -> None:
    found = failures(stalls.CASES, place, world)
    assert not found, "\n".join(found)
