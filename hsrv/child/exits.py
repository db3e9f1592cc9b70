"""What of the application tries to end the process: `sys.exit()` or KeyboardInterrupt in a task or callback of its own.

asyncio lets these two through, out of the loop that runs. Promise: such a task ends alone, with one entry in the log;
what runs beside it goes on.
"""

import asyncio
import traceback
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from hsrv.logs.logging import get_logger

EXITS: Final = (SystemExit, KeyboardInterrupt)

_NOT_THEIRS: Final = (str(Path(asyncio.__file__).parent), str(Path(__file__).parent.parent))

_TOLD: Final = "__hsrv_told__"
"""Attribute of those that are in the log."""

log = get_logger("hsrv.child")


def run_past_exits(loop: asyncio.AbstractEventLoop, life: Coroutine[Any, Any, int]) -> int:
    """Run it to its end, as `run_until_complete` does."""
    loop.set_exception_handler(_hear)
    main = loop.create_task(life)
    while True:
        try:
            return loop.run_until_complete(main)
        except EXITS as error:
            if main.done():
                raise
            _tell(error)


def _hear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """That nobody has asked a task for its end. Two exits in one turn of uvloop come out of it as one: the other is
    told here."""
    error = context.get("exception")
    if not isinstance(error, EXITS):
        loop.default_exception_handler(context)
    elif not hasattr(error, _TOLD):
        _tell(error)


def _tell(error: BaseException) -> None:
    setattr(error, _TOLD, True)
    text = "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__)))
    log.error("a task of the application tried to exit", exception=text)


def _theirs(found: TracebackType | None) -> TracebackType | None:
    """From the application's first frame on."""
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_NOT_THEIRS):
        found = found.tb_next
    return found
