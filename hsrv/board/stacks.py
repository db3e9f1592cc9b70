"""Stack dumps of a process, even if it is hung.

`faulthandler` writes the stack of every thread from a signal handler in C, to a descriptor opened beforehand: so it
works in an endless loop, in a call that holds the GIL, and in a crash. The descriptor is a file that the supervisor has
open too: it can read the stacks of a process that no longer answers, and writing them never blocks.
"""

import asyncio
import faulthandler
import os
import signal
from types import CoroutineType
from typing import Any, Final

from hsrv.common.visible import visible
from hsrv.ipc.anonfile import anonymous_file

SIGNAL: Final[int] = signal.SIGRTMAX - 2 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
"""A signal that applications rarely use. Without a handler it would end the process, so the template sets one, which
its children inherit."""

DUMP_LIMIT: Final = 256 * 1024
"""Bytes of a dump that are read. faulthandler itself stops at 100 threads of 100 frames."""

TASK_LIMIT: Final = 200
"""Tasks that are shown."""

FRAME_LIMIT: Final = 40
"""Awaits that are followed per task."""


def new_dump_file() -> int:
    """The descriptor of an anonymous file, close-on-exec. Raises OSError."""
    return anonymous_file("hsrv-stacks")


def dump_on_signal(fd: int) -> None:
    """From now on SIGNAL, and any fatal signal, writes the stacks of this process to `fd`."""
    kept = os.dup(fd)  # stays open for the process's life; the caller closes its own
    faulthandler.register(SIGNAL, file=kept, all_threads=True)
    faulthandler.enable(file=kept, all_threads=True)


def clear_dump(fd: int) -> None:
    """Truncate the file. All its descriptors share the position."""
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)


def read_dump(fd: int) -> str:
    """The current content."""
    return os.pread(fd, DUMP_LIMIT, 0).decode("utf-8", "replace")


def task_stacks() -> str:
    """Every task of the running loop except the current one, and where it waits: faulthandler can't know these."""
    tasks = sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=lambda task: task.get_name())
    parts = [describe(task) for task in tasks[:TASK_LIMIT]]
    if len(tasks) > TASK_LIMIT:
        parts.append(f"... and {len(tasks) - TASK_LIMIT} more tasks\n")
    return "\n".join(parts)


def describe(task: "asyncio.Task[Any]") -> str:
    """Where a task waits, outermost call first."""
    lines = [f"Task {visible(task.get_name())} (outermost await first):"]
    awaited: Any = task.get_coro()
    while awaited is not None and len(lines) <= FRAME_LIMIT:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            break
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_qualname}')
        awaited = (
            awaited.cr_await if isinstance(awaited, CoroutineType) else getattr(awaited, "gi_yieldfrom", None)
        )
    return "\n".join(lines) + "\n"
