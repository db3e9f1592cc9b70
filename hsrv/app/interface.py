"""Which interface a callable has, by its parameters: ASGI or WSGI. Calls nothing."""

import inspect
from typing import Any

from hsrv.common.terms import Interface


def interface_of(app: Any) -> Interface:
    """ASGI unless it is certainly WSGI: a plain callable that takes two arguments and needs no third. What takes any
    number (`*args`) tells nothing and counts as ASGI."""
    return Interface.WSGI if is_wsgi(app) else Interface.ASGI


def is_wsgi(app: Any) -> bool:
    """Whether it is certainly a WSGI application: function, method, object, or class whose instances are iterable."""
    if not callable(app) or is_async(app) or not takes(app, 2):
        return False
    if inspect.isclass(app) and not hasattr(app, "__iter__"):
        return False
    return not takes(app, 3) or _required(app) == 2


def could_be_wsgi(app: Any) -> bool:
    """Whether it can be called as one, for an operator who says that it is."""
    return callable(app) and takes(app, 2) and not is_async(app)


def takes(function: Any, count: int) -> bool:
    """Whether it can be called with `count` arguments; a C function without a signature counts as callable."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def is_async(value: Any) -> bool:
    call = getattr(type(value), "__call__", None)  # noqa: B004  # the method itself is wanted
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call)


def _required(function: Any) -> int:
    """How many positional arguments it needs; -1: that can't be told."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return -1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in kinds and one.default is one.empty for one in parameters)
