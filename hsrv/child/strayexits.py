"""An application that tries to end the process: `sys.exit()` or KeyboardInterrupt in one of its tasks or callbacks.

asyncio lets these two exceptions escape from the running loop. Promise: only that task ends, with one entry in the log;
everything else continues.
"""

import asyncio
import traceback
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from hsrv.logs.logging import get_logger

EXITS: Final = (SystemExit, KeyboardInterrupt)

_NOT_THEIRS: Final = (str(Path(asyncio.__file__).parent), str(Path(__file__).parent.parent))

_LOGGED: Final = "__hsrv_logged__"
"""Attribute that marks exceptions already logged."""

T = TypeVar("T")

log = get_logger("hsrv.child")


def run_past_exits(loop: asyncio.AbstractEventLoop, life: Coroutine[Any, Any, T]) -> T:
    """Run `life` to its end, as `run_until_complete` does."""
    loop.set_exception_handler(_on_exception)
    main = loop.create_task(life)
    while True:
        try:
            return loop.run_until_complete(main)
        except EXITS as error:
            if main.done():
                raise
            _log_exit(error)


def _on_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler for tasks whose result was not retrieved. Of two exits in one turn of uvloop only one escapes
    from the loop: the other is logged here."""
    error = context.get("exception")
    if not isinstance(error, EXITS):
        loop.default_exception_handler(context)
    elif not hasattr(error, _LOGGED):
        _log_exit(error)


def _log_exit(error: BaseException) -> None:
    setattr(error, _LOGGED, True)
    text = "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__)))
    log.error("a task of the application tried to exit", exception=text)


def _theirs(found: TracebackType | None) -> TracebackType | None:
    """The traceback from the application's first frame on."""
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_NOT_THEIRS):
        found = found.tb_next
    return found
