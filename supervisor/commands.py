"""Commands by signal, and what the server does when its terminal is closed."""

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from hsrv.logs.logging import get_logger
from hsrv.rpc.operator import ServerStatus
from hsrv.supervisor.hands.hands import ProcessHands
from hsrv.supervisor.operators.operations import new_id
from hsrv.supervisor.operators.reloads import Reloads
from hsrv.supervisor.plan.state import ServerPhase
from hsrv.supervisor.reports.waiting import tell_waiting
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.runtime.signals import COMMANDS, Command, handled
from hsrv.supervisor.runtime.terminal import LOOK_INTERVAL, Terminal, repeat_interrupt
from hsrv.supervisor.upgrade.upgrade import Upgrades
from hsrv.system import blockedsignals

log = get_logger("hsrv.supervisor")


class Commands:
    """The signal handlers of one server."""

    def __init__(
        self,
        loop: Loop,
        hands: ProcessHands,
        reloads: Reloads,
        upgrades: Upgrades,
        read_status: Callable[[], Awaitable[ServerStatus]],
    ) -> None:
        self._loop = loop
        self._read_status = read_status
        self._hands = hands
        self._reloads = reloads
        self._upgrades = upgrades
        self.terminal = Terminal()

    async def handle_signals(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        """Handle signals until cancelled."""
        with anyio.open_signal_receiver(*handled()) as signals:
            blockedsignals.unblock()
            task_status.started()
            async for signum in signals:
                is_first = self._loop.plan.phase is ServerPhase.RUNNING
                if not self._upgrades.obey(signum):
                    self.obey(COMMANDS[signum])
                    if COMMANDS[signum] is Command.STOP and is_first:
                        self._say_what_is_open(signum)
                if signum == signal.SIGINT and self.terminal.matters:
                    self._loop.tasks.start_soon(repeat_interrupt, lambda: self._hands.children.living)

    def obey(self, command: Command) -> None:
        loop = self._loop
        plan, now = loop.plan, loop.now()
        if command is Command.REAP:
            self._hands.reap()
        elif command is Command.STOP:
            loop.perform(plan.stop(now))
        elif command is Command.STOP_NOW:
            loop.perform(plan.stop_now("QUIT", now))
        elif command is Command.RELOAD and self.terminal.has_gone():
            self._hang_up(now)
        elif command is Command.RELOAD:
            self._reloads.begin(self._reloads.next_id())
        elif command is Command.UPGRADE:
            self._upgrades.begin(new_id())
        elif command is Command.REOPEN_LOGS:
            log.info("nothing to reopen", why="each line goes to the file that has the name at that moment")
        else:
            loop.perform(plan.scale(plan.workers + (1 if command is Command.MORE else -1), now))

    def _say_what_is_open(self, signum: int) -> None:
        again = "Ctrl-C again" if signum == signal.SIGINT else "TERM again"
        loop = self._loop
        loop.tasks.start_soon(tell_waiting, loop.plan, self._read_status, f"{again} ends them at once")

    def _hang_up(self, now: float) -> None:
        """When a terminal closes, HUP may come twice, from the kernel and from the shell. The second must not count as
        a second stop."""
        if self._loop.plan.phase is ServerPhase.RUNNING:
            log.info("terminal closed")
            self._loop.perform(self._loop.plan.stop(now))

    async def watch_terminal(self) -> None:
        """Note whether the server runs in the foreground of its terminal, as long as it has one."""
        while self.terminal.matters:
            self.terminal.look()
            await anyio.sleep(LOOK_INTERVAL)
