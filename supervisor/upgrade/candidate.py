"""The old supervisor's view of the new server while that starts: its process, its channel, its end.

Promise: its end is noted even if it is not a child of this process.
"""

import contextlib
import os
from dataclasses import dataclass, field
from typing import Final

import anyio

from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import MessageError
from hsrv.options.stopbudget import START_STAGES
from hsrv.supervisor.health.deaths import how_it_ended
from hsrv.supervisor.plan.fleet import Budgets
from hsrv.supervisor.upgrade.keeper import ReplacementServer
from hsrv.supervisor.upgrade.upgradestate import Failed, ToOld, decode_to_old

MARGIN: Final = 10.0
"""Seconds beyond its budgets that the new server has: to start an interpreter, and to say what was wrong."""

STATUS_DELAY: Final = 0.25
"""Seconds between the end of the process and the moment at which its wait status counts as unknown."""


def patience(budgets: Budgets) -> float:
    """Seconds that the new server may take until it serves. It keeps the budgets of its start itself."""
    return START_STAGES * budgets.startup + MARGIN


def stop_patience(budgets: Budgets) -> float:
    """Seconds that a new server which isn't wanted may take to end."""
    return budgets.dismissal() + MARGIN


@dataclass
class UpgradeCandidate:
    """A new server that is not the one yet."""

    pid: int
    channel: Channel
    replacement: ReplacementServer
    """What it will be to us."""
    death: str = ""
    """How it ended, in words; "" while it lives."""
    gone: anyio.Event = field(default_factory=anyio.Event)

    def ended(self, status: int) -> None:
        self.death = how_it_ended(status)
        self.gone.set()

    def vanished(self) -> None:
        """It ended, and nobody told us how."""
        if not self.gone.is_set():
            self.death = "ended"
            self.gone.set()

    def signal(self, signum: int) -> None:
        if not self.gone.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def close(self) -> None:
        self.channel.close()
        if self.replacement.channel is not None:
            self.replacement.channel.close()

    def hear(self) -> ToOld | None:
        """Its next message; None if there is none. Raises ChannelClosed and MessageError."""
        packet = self.channel.receive(expect=0)
        if packet is None:
            return None
        with packet:
            return decode_to_old(packet.payload)

    async def why_lost(self, error: Exception) -> Failed:
        """Why it said nothing more, or nothing that can be read."""
        if isinstance(error, MessageError):
            return Failed(str(error))
        with anyio.move_on_after(MARGIN):
            await self.gone.wait()
        how = self.death or "closed its channel"
        return Failed(f"the new server {how} before it was ready; its own lines in the log say why")

    async def watch_end(self) -> None:
        """Until it has ended. It may not be a child of this process, which then gets no SIGCHLD."""
        if not hasattr(os, "pidfd_open"):
            return
        try:
            end = os.pidfd_open(self.pid)
        except OSError:  # it has ended already
            self.vanished()
            return
        try:
            await anyio.wait_readable(end)
            await anyio.sleep(STATUS_DELAY)
            self.vanished()
        finally:
            os.close(end)
