"""How a process imports much at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLD: Final = 99_991
"""New objects before the collector looks for garbage. What an import makes it mostly keeps: with the usual 700 a sixth
of the time would be spent on looking through modules again and again. A number that nobody else would choose."""


@contextmanager
def few_collections() -> Iterator[None]:
    """While something is imported. Thresholds that it sets itself stay."""
    before = gc.get_threshold()
    ours = (THRESHOLD, *before[1:])
    gc.set_threshold(*ours)
    try:
        yield
    finally:
        if gc.get_threshold() == ours:
            gc.set_threshold(*before)
