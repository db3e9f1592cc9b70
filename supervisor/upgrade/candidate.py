"""The old supervisor's handle of the new server while that starts: process, channel, end.

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
"""Seconds beyond its budgets that the new server has, to start an interpreter and to report a failure."""

STATUS_DELAY: Final = 0.25
"""Seconds between the end of the process and the moment at which its wait status counts as unknown."""


def patience(budgets: Budgets) -> float:
    """Seconds for the new server until it serves. It enforces the budgets of its start itself."""
    return START_STAGES * budgets.startup + MARGIN


def stop_patience(budgets: Budgets) -> float:
    """Seconds for a new server that isn't wanted to end."""
    return budgets.dismissal() + MARGIN


@dataclass
class UpgradeCandidate:
    """A new server that has not taken over yet."""

    pid: int
    channel: Channel
    replacement: ReplacementServer
    """The same server after it has taken over."""
    death: str = ""
    """How it ended, in words; "" while it lives."""
    gone: anyio.Event = field(default_factory=anyio.Event)

    def ended(self, status: int) -> None:
        self.death = how_it_ended(status)
        self.gone.set()

    def vanished(self) -> None:
        """It has ended with an unknown status."""
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
        """Why it sent no answer, or one that can't be decoded."""
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
