"""The compiled form of hsrv (see hatch_build.py): what mypyc is told of classes, and whether this is it."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

__all__ = ["is_compiled", "mypyc_attr"]

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr  # known to it by this name, and needed by nobody else
else:
    _Class = TypeVar("_Class", bound=type)

    def mypyc_attr(**attributes: bool) -> Callable[[_Class], _Class]:
        return lambda cls: cls


def is_compiled() -> bool:
    """Whether the hot path is the compiled one."""
    spec = find_spec("hsrv.net.eager")
    return spec is not None and not str(spec.origin).endswith(".py")
