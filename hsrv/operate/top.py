"""`hsrv top`: live view of a server in a terminal.

Promises: the terminal is restored however the command ends (q, Ctrl-C, TERM, HUP, end of the server, an error); if the
server doesn't answer, the screen says so during the wait, and the command ends with that message.
"""

import asyncio
import os
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live

from hsrv.common.errors import NoServerError, OperatorError
from hsrv.operate.client import HungUpError, Session, connected, wait_for_end
from hsrv.operate.topview import SILENT, ViewSettings, screen
from hsrv.rpc import operator
from hsrv.status.rates import Meter, Rates
from hsrv.system import rundir

INTERVAL: Final = 1.0
"""Seconds between two requests."""

TICK: Final = 0.5
"""Seconds between two checks whether the server has been silent for too long."""

EXIT_WAIT: Final = 3.0
"""Seconds between the end of a connection and the end of its server, if that is the reason."""

KEYS_LIMIT: Final = 64
QUIT: Final = "qQ"
REDRAW: Final = "\f"
SIGNALS: Final = {
    signal.SIGINT: QUIT[0],
    signal.SIGTERM: QUIT[0],
    signal.SIGHUP: QUIT[0],
    signal.SIGWINCH: REDRAW,
}

LFLAG: Final = 3
CC: Final = 6
"""Indexes in the result of termios.tcgetattr()."""


async def top(path: Path, patience: float) -> None:
    """Run until the user ends it. Raises NoServerError when the server ends, OperatorError without a terminal."""
    console = Console()
    if not (console.is_terminal and sys.stdin.isatty()) or console.is_dumb_terminal:
        raise OperatorError("top needs a terminal; `hsrv status --watch` works without one")
    try:
        async with connected(path, patience) as session:
            await _Top(console, session, patience).run()
    except HungUpError as error:
        pid = rundir.pid_of(path)
        if await wait_for_end(pid, EXIT_WAIT):
            raise NoServerError(f"the server with pid {pid} has ended") from error
        raise


class _Top:
    """One view, from the first request to the last key."""

    def __init__(self, console: Console, session: Session, patience: float) -> None:
        self._console = console
        self._session = session
        self._patience = patience
        self._meter = Meter()
        self._settings = ViewSettings()
        self._status: operator.ServerStatus
        self._rates: Rates | None = None
        self._answered = 0.0
        """time.monotonic() of the last answer."""
        self._failure: NoServerError | None = None
        self._live: Live
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        """Keys, and internal commands: REDRAW to draw again, one of QUIT to end."""

    async def run(self) -> None:
        await self._ask()  # if the server doesn't answer at all, the screen doesn't flash
        with Live(console=self._console, screen=True, auto_refresh=False) as self._live, self._controls():
            self._draw()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch)
                tasks.start_soon(self._tick)
                await self._handle_keys()
                tasks.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _watch(self) -> None:
        try:
            while True:
                await anyio.sleep(INTERVAL)
                await self._ask()
                self._keys.put_nowait(REDRAW)
        except NoServerError as error:
            self._failure = error
            self._keys.put_nowait(QUIT[0])

    async def _ask(self) -> None:
        self._status = await self._session.ask(operator.STATUS, operator.StatusParams(), limit=self._patience)
        self._answered = time.monotonic()
        self._rates = self._meter.feed(self._status)

    async def _tick(self) -> None:
        """Redraw during a silence: its duration is shown."""
        while True:
            await anyio.sleep(TICK)
            if self._silence > SILENT:
                self._keys.put_nowait(REDRAW)

    async def _handle_keys(self) -> None:
        while (key := await self._keys.get()) not in QUIT:
            self._settings = self._settings.press(key)
            self._draw()

    def _draw(self) -> None:
        size = self._console.size = ConsoleDimensions(*os.get_terminal_size(sys.stdout.fileno()))
        settings = replace(self._settings, silence=self._silence)
        lines = screen(self._status, self._rates, settings, size.width, size.height)
        self._live.update(Group(*lines), refresh=True)

    @property
    def _silence(self) -> float:
        return max(0.0, time.monotonic() - self._answered - INTERVAL)

    @contextmanager
    def _controls(self) -> Iterator[None]:
        """Keys and signals, until the end of the block."""
        loop = asyncio.get_running_loop()
        fd = sys.stdin.fileno()
        with _single_keys(fd):
            loop.add_reader(fd, self._read_keys, fd)
            for number, key in SIGNALS.items():
                loop.add_signal_handler(number, self._keys.put_nowait, key)
            try:
                yield
            finally:
                loop.remove_reader(fd)
                for number in SIGNALS:
                    loop.remove_signal_handler(number)

    def _read_keys(self, fd: int) -> None:
        try:
            data = os.read(fd, KEYS_LIMIT)
        except OSError:  # the terminal is gone
            data = b""
        for key in keys(data):
            self._keys.put_nowait(key)


def keys(data: bytes) -> str:
    """The keys typed. Escape sequences of the terminal (an arrow, a paste) are ignored."""
    if not data:
        return QUIT[0]
    return "" if data[:1] == b"\x1b" else data.decode("ascii", "ignore")


@contextmanager
def _single_keys(fd: int) -> Iterator[None]:
    """Read single keys without echo. No suspending: it would leave the alternate screen visible."""
    before = termios.tcgetattr(fd)
    wanted = termios.tcgetattr(fd)
    wanted[LFLAG] &= ~(termios.ICANON | termios.ECHO)
    wanted[CC][termios.VSUSP] = b"\0"
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, wanted)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)
