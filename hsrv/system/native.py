"""Compilation of hsrv (see hatch_build.py): class attributes for mypyc, and whether this hsrv is compiled."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

__all__ = ["is_compiled", "mypyc_attr"]

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr  # only mypyc needs it, under this name
else:
    _Class = TypeVar("_Class", bound=type)

    def mypyc_attr(**attributes: bool) -> Callable[[_Class], _Class]:
        return lambda cls: cls


def is_compiled() -> bool:
    """Whether the hot path is compiled."""
    spec = find_spec("hsrv.net.eager")
    return spec is not None and not str(spec.origin).endswith(".py")
