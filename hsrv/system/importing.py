"""Fewer garbage collections while a process imports many modules."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLD: Final = 99_991
"""New objects before a collection. Most objects that an import creates are kept: with the usual 700 a sixth of the time
would be spent on scanning modules repeatedly. An unusual number, so that a change by the application is detected."""


@contextmanager
def few_collections() -> Iterator[None]:
    """Use around imports. A threshold that the imported code sets itself is kept."""
    before = gc.get_threshold()
    ours = (THRESHOLD, *before[1:])
    gc.set_threshold(*ours)
    try:
        yield
    finally:
        if gc.get_threshold() == ours:
            gc.set_threshold(*before)
