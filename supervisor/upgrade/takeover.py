"""The new side of an upgrade: what the old supervisor has passed on, and the messages to and from it.

Promises: until the old server has handed over, no failure here affects it; once this server serves, it takes over, also
if the old one dies at that moment; if the old one gives it up before, it ends.
"""

import os
import socket
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from typing import Self

import anyio

from hsrv.common.errors import HsrvError
from hsrv.common.terms import Role
from hsrv.ipc.channel import Channel, ChannelClosed, ChannelError, Packet
from hsrv.ipc.messages import ListenerInfo, MessageError
from hsrv.ipc.socketfile import remove_socket_file
from hsrv.logs.logging import get_logger
from hsrv.supervisor.operators.operations import Operation
from hsrv.supervisor.operators.operator import OperatorSocket
from hsrv.supervisor.plan.actions import LogLine
from hsrv.supervisor.plan.fleet import Budgets
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.state import ServerPhase
from hsrv.supervisor.runtime.launch import SUCCEEDS
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.sockets.inheritance import Inheritance
from hsrv.supervisor.sockets.listeners import Listener, lent
from hsrv.supervisor.upgrade.keeper import KeeperChannel
from hsrv.supervisor.upgrade.upgradestate import Failed, ManagerDuties, Ready, Step, decode_state, encode

log = get_logger("hsrv.supervisor")


def takeover_from(environ: MutableMapping[str, str]) -> "Takeover | None":
    """What an old server has passed on; None if there is none. Raises HsrvError."""
    text = environ.pop(SUCCEEDS, "")
    if not text:
        return None
    if not text.isdecimal():
        raise HsrvError(f"{SUCCEEDS} = {text!r}: is for `hsrv upgrade` alone")
    os.set_inheritable(int(text), False)
    return Takeover.receive(Channel(socket.socket(fileno=int(text))))


class Takeover:
    """The takeover from one old server."""

    def __init__(self, channel: Channel, packet: Packet) -> None:
        """Raises MessageError, IndexError, OSError."""
        self._channel = channel
        self.state = state = decode_state(packet.payload)
        sockets = [(inherited.name, packet.take_fd()) for inherited in state.listeners]
        self.inheritance = Inheritance(sockets, instead_of_binds=state.instead_of_binds)
        self.operator_socket = (
            OperatorSocket.inherited(packet.take_socket(), state.operator_socket)
            if state.operator_socket
            else None
        )
        adopt = Channel(packet.take_socket()), Channel(packet.take_socket())
        self.adopt = adopt if state.speaks_our_messages else None
        """Its adopt channel, if this version understands its messages."""
        if self.adopt is None:
            for end in adopt:
                end.close()
        self.keeper = KeeperChannel(Channel(packet.take_socket())) if state.kept else None
        self.leadership = packet.take_fd() if state.leadership else -1
        """Descriptor of its file; -1: it has none."""
        self._answered = self._ready = False
        self.is_over = False
        """Set when this server has taken over."""
        self.old_gone = anyio.Event()

    @classmethod
    def receive(cls, channel: Channel) -> Self:
        """The old server has sent it before it started this process. Raises HsrvError."""
        try:
            packet = channel.receive()
            if packet is None:
                raise MessageError("the channel is empty")
            with packet:
                return cls(channel, packet)
        except (ChannelError, MessageError, IndexError, OSError) as error:
            try:
                channel.send(encode(Failed(str(error))))
            except ChannelError:
                log.debug("the old server is gone")
            raise HsrvError(f"can't take over: {error}") from error

    def refuse(self, why: str, traceback: str = "") -> None:
        """Report that this server can't start. The first reason counts."""
        self._send_last(Failed(why, traceback))

    def _send_last(self, word: Failed | Ready) -> None:
        if not self._answered:
            self._answered = True
            self._send(word)

    def _send(self, word: Step | Failed | Ready) -> None:
        try:
            self._channel.send(encode(word))
        except ChannelError as error:
            log.debug("old server not reached", error=str(error))

    # in the supervisor

    def restore(self, plan: Plan, start: Operation) -> None:
        """Restore state of the old server. `start`: the operation of this server's start."""
        state = self.state
        plan.take_over(last_number=state.generation, held=state.held, workers=state.workers)
        self._start = start

    async def run(self, loop: Loop, addresses: Addresses, on_ours: Callable[[ManagerDuties], None]) -> None:
        """Until the old server has ended. `on_ours`: called when it has handed everything over."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell)
            await self._listen(loop, lambda: self._take_over(loop, addresses, on_ours))

    async def _tell(self) -> None:
        async def step(text: str) -> None:
            self._send(Step(text))

        await self._start.follow(step)
        self.answer()

    def answer(self) -> None:
        """Report the end of the start, if it has ended."""
        if self._start.is_over and self._start.error:
            self.refuse(self._start.error, self._start.traceback)
        elif self._start.is_over:
            self._ready = True
            self._send_last(Ready(adopts=self.adopt is not None))

    async def _listen(self, loop: Loop, take_over: Callable[[], None]) -> None:
        while True:
            await anyio.wait_readable(self._channel)
            try:
                packet = self._channel.receive(expect=0)
            except ChannelClosed:
                break
            if packet is not None:  # there is only one message: TakeOver
                packet.close()
                take_over()
        self.old_gone.set()
        if not self.is_over and self._ready:
            log.warning("the old server died when we were ready")
            take_over()
        elif not self.is_over and loop.plan.phase is ServerPhase.RUNNING:
            log.error("stopping", why="the old server is gone, and we are not ready")
            loop.perform(loop.plan.stop(loop.now()))

    def _take_over(self, loop: Loop, addresses: Addresses, on_ours: Callable[[ManagerDuties], None]) -> None:
        self.is_over = True
        addresses.change(self._owned)
        if self.state.duties.store:  # stored by the service manager, new ones too
            addresses.change(lent)
        wanted = {listener.name for listener in addresses.all()}
        for inherited in self.state.listeners:
            if inherited.name not in wanted:
                remove_socket_file(inherited.info)
        on_ours(self.state.duties)
        adopts = self.adopt is not None
        loop.tell(LogLine("info", "took over", {"before": self.state.hsrv, "adopts": adopts}))

    def _owned(self, listener: Listener) -> Listener:
        """The listener as the old server owned it."""
        found = (one for one in self.state.listeners if one.name == listener.name)
        inherited = next(found, None)
        if inherited is None:
            return listener
        info: ListenerInfo = inherited.info if inherited.info.url == listener.info.url else listener.info
        return replace(listener, info=info, shared=inherited.shared)

    async def end(self, budgets: Budgets) -> None:
        """Called before this process ends. A service manager kills the rest of the unit when its main process has
        ended, but the old server may still drain, within its budgets."""
        self.answer()
        if self.is_over and self.state.duties.notify:
            with anyio.move_on_after(budgets.drain(Role.POOL)):
                await self.old_gone.wait()

    def close(self) -> None:
        self._channel.close()
