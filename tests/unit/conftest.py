"""What all unit tests share."""

import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def only_what_is_new_is_collected() -> None:
    """Half a million objects of pytest and of what was imported: each gc.collect() of a test would look at them."""
    gc.collect()
    gc.freeze()
