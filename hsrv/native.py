"""What mypyc is told of classes (see hatch_build.py). Without it, nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

__all__ = ["mypyc_attr"]

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr  # known to it by this name, and needed by nobody else
else:
    _Class = TypeVar("_Class", bound=type)

    def mypyc_attr(**attributes: bool) -> Callable[[_Class], _Class]:
        return lambda cls: cls
