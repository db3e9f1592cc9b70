"""What makes imports cheaper: fewer garbage collections, and nothing that is imported only because it is there."""

import gc
import sys
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


@contextmanager
def without(name: str) -> Iterator[None]:
    """What is imported in this block finds no module of this name, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails (see `sys.modules`)
    try:
        yield
    finally:
        del sys.modules[name]
