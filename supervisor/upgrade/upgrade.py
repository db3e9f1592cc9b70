"""The old side of an upgrade: another supervisor is started and takes over the listening sockets; this one drains.

Promises: until the new server serves, nothing of this one changes, and if it fails, this one keeps serving; at no
moment do both own the socket files, the operators or the service manager; no address is ever without a listener.
"""

import signal
from typing import Final

import anyio

from hsrv.ipc.channel import ChannelClosed, ChannelError
from hsrv.ipc.messages import MessageError
from hsrv.logs.logging import get_logger
from hsrv.options.stopbudget import START_STAGES
from hsrv.supervisor.plan.actions import LogLine, OperationEnded, OperationStep
from hsrv.supervisor.plan.state import ServerPhase
from hsrv.supervisor.runtime.inoperation import in_operation
from hsrv.supervisor.runtime.launch import Launch
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.runtime.reports import Note
from hsrv.supervisor.runtime.signals import Command, command_of
from hsrv.supervisor.sockets.listeners import lent
from hsrv.supervisor.upgrade.candidate import MARGIN, UpgradeCandidate, patience, stop_patience
from hsrv.supervisor.upgrade.handover import HandedOver, start, why_not
from hsrv.supervisor.upgrade.keeper import KeeperChannel, ReplacementServer
from hsrv.supervisor.upgrade.upgradestate import Failed, Ready, Step, TakeOver, encode

LOOK_INTERVAL: Final = 0.25
"""Seconds between two checks whether the upgrade is still wanted."""

log = get_logger("hsrv.supervisor")


class Upgrades:
    """The upgrades of one server."""

    def __init__(
        self, loop: Loop, ours: HandedOver, launch: Launch, keeper: KeeperChannel | None, *, development: bool
    ) -> None:
        """`keeper`: the process whose pid others know; None if it is this one."""
        self._loop = loop
        self._ours = ours
        self._development = development
        self._launch = launch
        self._keeper = keeper
        self._candidate: UpgradeCandidate | None = None
        """A new server that starts."""
        self._over = anyio.Event()
        self._result: Ready | None = None
        self._left: UpgradeCandidate | None = None
        """The new server that has taken over."""
        self._told_to_stop = False

    @property
    def in_progress(self) -> bool:
        return self._candidate is not None

    @property
    def replacement(self) -> ReplacementServer | None:
        """The server that has taken over; None before that."""
        return self._left.replacement if self._left is not None else None

    @property
    def adopts(self) -> bool:
        """Whether the replacement takes over idle connections too."""
        return self._result is not None and self._result.adopts

    @property
    def stays(self) -> bool:
        """Whether this process has to stay as the keeper: its parent waits for it."""
        return self.replacement is not None and self.replacement.channel is not None

    # begin

    def begin(self, operation: str) -> None:
        """Start a new server and let it take over. Its steps and its end are reported with this operation."""
        why = why_not(self._loop.plan, development=self._development, upgrading=self.in_progress)
        if not why:
            try:
                self._candidate = start(self._ours, self._loop.plan, self._launch, operation, self._keeper)
            except (OSError, ChannelError) as error:
                why = f"the new server can't be started: {error}"
        if self._candidate is None or why:
            log.warning("not upgraded", why=why)
            self._loop.tell(OperationEnded(why, operation=operation))
            return
        self._over = anyio.Event()
        self._loop.tasks.start_soon(self._candidate.watch_end)
        self._loop.tasks.start_soon(self._see_through, operation)

    # start of the new server

    async def _see_through(self, operation: str) -> None:
        candidate = self._candidate
        assert candidate is not None
        try:
            with in_operation(operation):
                self._loop.tell(LogLine("info", "upgrading", {"successor": candidate.pid}))
                answer = await self._answer(candidate, operation)
                failed = (
                    self._hand_over(candidate, answer, operation) if isinstance(answer, Ready) else answer
                )
                if failed is not None:
                    await self._give_up(candidate, failed, operation)
        finally:
            self._candidate = None
            self._over.set()

    async def _answer(self, candidate: UpgradeCandidate, operation: str) -> Ready | Failed:
        """Wait for the end of its start."""
        plan, seconds = self._loop.plan, patience(self._loop.plan.budgets)
        with anyio.move_on_after(seconds):
            while plan.phase is ServerPhase.RUNNING:
                with anyio.move_on_after(LOOK_INTERVAL):
                    await anyio.wait_readable(candidate.channel)
                try:
                    word = candidate.hear()
                except (ChannelClosed, MessageError) as error:
                    return await candidate.why_lost(error)
                if isinstance(word, Step):
                    self._loop.tell(OperationStep(f"new server: {word.text}", operation=operation))
                elif word is not None:
                    return word
            return Failed("the server stops")
        return Failed(
            f"the new server is not ready after {seconds:g} s ({START_STAGES} x --startup-timeout + {MARGIN:g} s)"
        )

    # end

    def _hand_over(self, candidate: UpgradeCandidate, answer: Ready, operation: str) -> Failed | None:
        """It serves: hand everything over. None, or why that failed."""
        ours, loop = self._ours, self._loop
        duties = ours.manager.hand_over(candidate.pid)  # before the new server notifies the manager
        if duties is None:
            return Failed("the service manager could not be told of the new main process")
        try:
            candidate.channel.send(encode(TakeOver()))
        except ChannelError:
            ours.manager.become_main(duties, main=True)
            loop.wake()
            return Failed("the new server died when it was ready")
        ours.addresses.change(lent)
        if ours.operator_socket is not None:
            ours.operator_socket.hand_over(candidate.pid)
        ours.own_files()
        self._left, self._result = candidate, answer
        log.info("upgraded", successor=candidate.pid, adopts=answer.adopts)
        if not answer.adopts:
            log.warning("idle connections are closed", why="the new version speaks other messages")
        loop.perform(loop.plan.leave(loop.now(), adopt=answer.adopts, operation=operation))
        loop.tell(OperationEnded(operation=operation))
        return None

    async def _give_up(self, candidate: UpgradeCandidate, failed: Failed, operation: str) -> None:
        """End it after a failure; this server goes on as before."""
        candidate.signal(signal.SIGTERM)
        with anyio.move_on_after(stop_patience(self._loop.plan.budgets)):
            await candidate.gone.wait()
        candidate.signal(signal.SIGKILL)
        candidate.close()
        details = {"exception": failed.traceback} if failed.traceback else {}
        log.error("upgrade failed, this server goes on", error=failed.message, **details)
        self._loop.tell(Note("upgrade failed", "error", {"error": failed.message}))
        self._loop.tell(OperationEnded(failed.message, failed.traceback, operation=operation))

    async def end(self) -> None:
        """This server has ended: wait until an upgrade in progress has ended too. Bounded by its own budget."""
        if self.in_progress:
            await self._over.wait()

    # events

    def exited(self, pid: int, status: int) -> None:
        """A process has ended that is neither a template nor a child."""
        if self._candidate is not None and pid == self._candidate.pid:
            self._candidate.ended(status)
        elif self.replacement is not None and pid == self.replacement.pid:
            self.replacement.status = status

    def obey(self, signum: int) -> bool:
        """Whether a signal is dealt with: it was forwarded to the replacement, or asks for the drain in progress. A
        second stop ends this process too."""
        command = command_of(signum)
        if self.replacement is None or command is Command.REAP:
            return False
        if self.stays:
            self.replacement.signal(signum)
        if command is Command.STOP and not self._told_to_stop:
            self._told_to_stop = True
            return True
        return command not in (Command.STOP, Command.STOP_NOW)

    async def heed_keeper(self) -> None:
        """Stop when the keeper of the pid is killed: its parent could no longer stop this server."""
        if self._keeper is None:
            return
        await anyio.wait_readable(self._keeper.channel)
        if self._keeper.is_cut() and self.replacement is None:
            log.error("stopping", why="the process by which this server is known was killed")
            self._loop.perform(self._loop.plan.stop(self._loop.now()))

    def announce(self) -> None:
        """Tell the keeper that this server has taken over."""
        if self._keeper is not None:
            self._keeper.announce()

    def close(self) -> None:
        """Close all channels except the keeper's."""
        if self._keeper is not None:
            self._keeper.channel.close()
        if self._left is not None:
            self._left.channel.close()
