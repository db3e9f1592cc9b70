"""The old side of an upgrade: another supervisor is started, takes over what we listen on, and we drain.

Promises: until the new one serves nothing of ours changes, and when it doesn't come to that we go on; it never owns
what we still need (socket files, operators, the service manager), and we end nothing that has become its own; no
address is without a listener at any moment.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio

from hsrv.common.version import __version__
from hsrv.ipc.channel import MAX_DESCRIPTORS, Channel, ChannelClosed, ChannelError
from hsrv.ipc.messages import MessageError
from hsrv.logs.logging import get_logger
from hsrv.options.stopbudget import START_STAGES
from hsrv.supervisor.health.deaths import how_it_ended
from hsrv.supervisor.operators.operator import OperatorSocket
from hsrv.supervisor.plan.actions import LogLine, OperationEnded, OperationStep
from hsrv.supervisor.plan.fleet import Budgets, Gen
from hsrv.supervisor.plan.state import ServerPhase, View
from hsrv.supervisor.runtime.inoperation import in_operation
from hsrv.supervisor.runtime.launch import Launch
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.runtime.signals import Command, command_of
from hsrv.supervisor.runtime.told import Note
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.sockets.listeners import Listener, lent
from hsrv.supervisor.upgrade.keeper import KeeperChannel, ReplacementServer
from hsrv.supervisor.upgrade.upgradestate import (
    Failed,
    InheritedListener,
    ManagerDuties,
    Ready,
    Step,
    TakeOver,
    ToOld,
    UpgradeState,
    decode_to_old,
    encode,
)

MARGIN: Final = 10.0
"""Seconds beyond its budgets that the new server has: to start an interpreter, and to say what was wrong."""

LOOK_INTERVAL: Final = 0.25
"""Seconds between two looks at whether the new server is still wanted."""

log = get_logger("hsrv.supervisor")


def patience(budgets: Budgets) -> float:
    """Seconds that the new server may take until it serves. It keeps the budgets of its start itself."""
    return START_STAGES * budgets.startup + MARGIN


def stop_patience(budgets: Budgets) -> float:
    """Seconds that a new server which isn't wanted may take to end."""
    return budgets.dismissal() + MARGIN


def why_not(plan: View, *, development: bool, upgrading: bool) -> str:
    """Why no upgrade can begin now, or ""."""
    if plan.phase is not ServerPhase.RUNNING:
        return "the server stops"
    if development:
        return "not with --reload: stop and start it"
    if upgrading:
        return "an upgrade is under way already"
    if plan.serving() is None:
        return "the server starts"
    if any(one.state is Gen.STARTING for one in plan.generations.values()):
        return "a reload is under way"
    return ""


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


class Manager(Protocol):
    """The service manager (`hsrv.supervisor.reports.notify`)."""

    duties: ManagerDuties

    @property
    def is_main_process(self) -> bool: ...

    def hand_over(self, pid: int) -> ManagerDuties | None: ...

    def become_main(self, duties: ManagerDuties, *, main: bool = False) -> None: ...


@dataclass(frozen=True)
class HandedOver:
    """What of a server passes to the next one."""

    addresses: Addresses
    door: OperatorSocket | None
    adopt: tuple[Channel, Channel]
    leadership: int
    """Descriptor of the file of `hsrv.child.leadership`."""
    manager: Manager
    learned: Callable[[], list[str]]
    """Paths that turned out to be streams."""
    own_files: Callable[[], None]
    """Tell whoever removes socket files when we die which of them end with us."""


class Upgrades:
    """What one supervisor knows of those that follow it."""

    def __init__(
        self, loop: Loop, ours: HandedOver, launch: Launch, keeper: KeeperChannel | None, *, development: bool
    ) -> None:
        """`keeper`: the process that keeps the pid by which we are known; None when that is our own."""
        self._loop = loop
        self._ours = ours
        self._development = development
        self._launch = launch
        self._keeper = keeper
        self._candidate: UpgradeCandidate | None = None
        """One that starts."""
        self._over = anyio.Event()
        self._result: Ready | None = None
        self._left: UpgradeCandidate | None = None
        """The one that has taken over."""
        self._told_to_stop = False

    @property
    def in_progress(self) -> bool:
        return self._candidate is not None

    @property
    def replacement(self) -> ReplacementServer | None:
        """Who has taken over; None while the server is ours."""
        return self._left.replacement if self._left is not None else None

    @property
    def adopts(self) -> bool:
        """Whether the replacement takes our idle connections too."""
        return self._result is not None and self._result.adopts

    @property
    def stays(self) -> bool:
        """Whether this process has to outlive its server: somebody waits for it."""
        return self.replacement is not None and self.replacement.channel is not None

    # start

    def begin(self, operation: str) -> None:
        """Start a new server and let it take over. Its steps and its end are told as this operation."""
        why = why_not(self._loop.plan, development=self._development, upgrading=self.in_progress)
        if not why:
            try:
                self._candidate = self._start(operation)
            except (OSError, ChannelError) as error:
                why = f"the new server can't be started: {error}"
        if self._candidate is None or why:
            log.warning("not upgraded", why=why)
            self._loop.tell(OperationEnded(why, operation=operation))
            return
        self._over = anyio.Event()
        self._loop.tasks.start_soon(self._await_end, self._candidate)
        self._loop.tasks.start_soon(self._see_through, operation)

    def _start(self, operation: str) -> UpgradeCandidate:
        """Raises OSError or ChannelError."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            channel, far = Channel.pair()
            ours.callback(channel.close)
            theirs.callback(far.close)
            kept, keeper = None, self._keeper
            if keeper is None and not self._ours.manager.is_main_process:
                kept, end = Channel.pair()
                ours.callback(kept.close)
                theirs.callback(end.close)
                keeper = KeeperChannel(end)
            self._send_state(channel, operation, keeper)
            spawn = self._launch.spawn if keeper is not None else self._launch.spawn_beside
            pid = spawn(far.fileno())
            ours.pop_all()
            return UpgradeCandidate(pid, channel, ReplacementServer(pid, kept))

    def _send_state(self, channel: Channel, operation: str, keeper: KeeperChannel | None) -> None:
        """Raises ChannelError."""
        plan, door, addresses = self._loop.plan, self._ours.door, self._ours.addresses
        listeners = addresses.all()
        state = UpgradeState(
            hsrv=__version__,
            operation=operation,
            listeners=tuple(_inherited(listener) for listener in listeners),
            instead_of_binds=addresses.instead_of_binds,
            door=door.info if door is not None else None,
            kept=keeper is not None,
            generation=plan.last_number,
            workers=plan.workers if plan.workers != plan.settings.workers else None,
            held=plan.held,
            leadership=True,
            learned=tuple(self._ours.learned()),
            duties=self._ours.manager.duties,
        )
        fds = [listener.sock.fileno() for listener in listeners]
        fds += [door.fileno()] if door is not None else []
        fds += [end.fileno() for end in self._ours.adopt]
        fds += [keeper.channel.fileno()] if keeper is not None else []
        fds.append(self._ours.leadership)
        if len(fds) >= MAX_DESCRIPTORS:
            raise ChannelError(f"{len(fds)} sockets are more than a packet takes")
        channel.send(encode(state), *fds)

    # wait

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
        """How its start ended."""
        plan, seconds = self._loop.plan, patience(self._loop.plan.budgets)
        with anyio.move_on_after(seconds):
            while plan.phase is ServerPhase.RUNNING:
                with anyio.move_on_after(LOOK_INTERVAL):
                    await anyio.wait_readable(candidate.channel)
                try:
                    word = _hear(candidate.channel)
                except (ChannelClosed, MessageError) as error:
                    return await self._last_words(candidate, error)
                if isinstance(word, Step):
                    self._loop.tell(OperationStep(f"new server: {word.text}", operation=operation))
                elif word is not None:
                    return word
            return Failed("the server stops")
        return Failed(
            f"the new server is not ready after {seconds:g} s (twice --startup-timeout, and {MARGIN:g} s)"
        )

    async def _last_words(self, candidate: UpgradeCandidate, error: Exception) -> Failed:
        if isinstance(error, MessageError):
            return Failed(str(error))
        with anyio.move_on_after(MARGIN):
            await candidate.gone.wait()
        how = candidate.death or "closed its channel"
        return Failed(f"the new server {how} before it was ready; its own lines in the log say why")

    async def _await_end(self, candidate: UpgradeCandidate) -> None:
        """It may be no child of ours, whose end would be told."""
        if not hasattr(os, "pidfd_open"):
            return
        try:
            end = os.pidfd_open(candidate.pid)
        except OSError:  # it is gone already
            candidate.vanished()
            return
        try:
            await anyio.wait_readable(end)
            await anyio.sleep(LOOK_INTERVAL)  # for its status, if it is ours
            candidate.vanished()
        finally:
            os.close(end)

    # end

    def _hand_over(self, candidate: UpgradeCandidate, answer: Ready, operation: str) -> Failed | None:
        """It serves: from now on the server is its own. None, or why nothing came of it."""
        ours, loop = self._ours, self._loop
        duties = ours.manager.hand_over(candidate.pid)  # before the new one speaks to the manager
        if duties is None:
            return Failed("the service manager could not be told of the new main process")
        try:
            candidate.channel.send(encode(TakeOver()))
        except ChannelError:
            ours.manager.become_main(duties, main=True)
            loop.wake()
            return Failed("the new server died when it was ready")
        ours.addresses.change(lent)
        if ours.door is not None:
            ours.door.hand_over(candidate.pid)
        ours.own_files()
        self._left, self._result = candidate, answer
        log.info("upgraded", successor=candidate.pid, adopts=answer.adopts)
        if not answer.adopts:
            log.warning("idle connections are closed", why="the new version speaks other messages")
        loop.perform(loop.plan.leave(loop.now(), adopt=answer.adopts, operation=operation))
        loop.tell(OperationEnded(operation=operation))
        return None

    async def _give_up(self, candidate: UpgradeCandidate, failed: Failed, operation: str) -> None:
        """It must not outlive its failure; we go on as before."""
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
        """Our server has ended: so does one that was to follow it. Bounded by its own budget."""
        if self.in_progress:
            await self._over.wait()

    # news

    def exited(self, pid: int, status: int) -> None:
        """A process that was none of ours by the supervisor's book."""
        if self._candidate is not None and pid == self._candidate.pid:
            self._candidate.ended(status)
        elif self.replacement is not None and pid == self.replacement.pid:
            self.replacement.status = status

    def obey(self, signum: int) -> bool:
        """Whether a signal was for the replacement, or asks for what we do already. One that ends the server, sent
        twice, ends us too."""
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
        """Whoever keeps our pid was killed: nobody could stop us any more who knows only that one."""
        if self._keeper is None:
            return
        await anyio.wait_readable(self._keeper.channel)
        if self._keeper.is_cut() and self.replacement is None:
            log.error("stopping", why="the process by which this server is known was killed")
            self._loop.perform(self._loop.plan.stop(self._loop.now()))

    def announce(self) -> None:
        """We have taken over."""
        if self._keeper is not None:
            self._keeper.announce()

    def close(self) -> None:
        """All but what a keeper needs."""
        if self._keeper is not None:
            self._keeper.channel.close()
        if self._left is not None:
            self._left.channel.close()


def _inherited(listener: Listener) -> InheritedListener:
    return InheritedListener(name=listener.name, info=listener.info, shared=listener.shared)


def _hear(channel: Channel) -> ToOld | None:
    """What it has said; None when nothing. Raises ChannelClosed, MessageError."""
    packet = channel.receive(expect=0)
    if packet is None:
        return None
    with packet:
        return decode_to_old(packet.payload)
