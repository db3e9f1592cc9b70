"""How a process imports much at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLD: Final = 100_000
"""New objects before the collector looks for garbage. What an import makes it mostly keeps: with the usual 700 a sixth
of the time would be spent on looking through modules again and again."""


@contextmanager
def few_collections() -> Iterator[None]:
    """While something is imported. A threshold that it sets itself stays."""
    before = gc.get_threshold()
    gc.set_threshold(THRESHOLD, *before[1:])
    try:
        yield
    finally:
        if gc.get_threshold()[0] == THRESHOLD:
            gc.set_threshold(*before)
