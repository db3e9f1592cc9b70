"""What all unit tests share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def only_what_is_new_is_collected() -> Iterator[None]:
    """Half a million objects of pytest and of what was imported: each gc.collect() of a test would look at them."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
