"""Errors that leave the application. Pure.

Promises: what follows from a client's leaving is told from a failure; once an error is reported it keeps nothing of its
request.
"""

from typing import Any, Protocol

from hsrv.common.errors import ClientDisconnected


class Done(Protocol):
    """A task that is over."""

    def result(self) -> Any: ...


def error_of(task: Done) -> BaseException | None:
    """What it ended with, if not well. Taken by `result()`, after which the task itself keeps no traceback;
    `exception()` would leave it one, and code that keeps the task (asyncio's TaskGroup, in the frame that raised) a
    cycle."""
    try:
        task.result()
    except BaseException as error:  # the application's, of any kind
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next  # without this frame
        return error
    return None


def follows_from_disconnect(error: BaseException | None) -> bool:
    """Whether an error began as what `send()` raises when the client is gone: frameworks put their own on top of it,
    and task groups put it into a group."""
    return _follows(error, set())


def _follows(error: BaseException | None, seen: set[int]) -> bool:
    """`seen`: a group may be the context of an error that is in it, when a framework has taken it out again."""
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ClientDisconnected):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(_follows(one, set(seen)) for one in error.exceptions)
        error = error.__cause__ or error.__context__
    return False


def let_go(error: BaseException) -> None:
    """Drop the tracebacks of an error and of what led to it. Their frames hold everything that the request used, for
    example a generator with a `finally` that is still to run. A frame that has the error in a variable, as Starlette's
    do, forms a cycle with it that only the garbage collector would break."""
    seen: set[int] = set()
    found: list[BaseException | None] = [error]
    while found:
        one = found.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        found += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            found += one.exceptions
