"""What a server passes to its replacement, and how that is started.

Promises: the new server gets descriptors and state in one packet, before it runs; if it can't be started, everything
that was opened for it is closed.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hsrv.common.version import __version__
from hsrv.ipc.channel import MAX_DESCRIPTORS, Channel, ChannelError
from hsrv.supervisor.operators.operator import OperatorSocket
from hsrv.supervisor.plan.fleet import Gen
from hsrv.supervisor.plan.state import ServerPhase, View
from hsrv.supervisor.runtime.launch import Launch
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.sockets.listeners import Listener
from hsrv.supervisor.upgrade.candidate import UpgradeCandidate
from hsrv.supervisor.upgrade.keeper import KeeperChannel, ReplacementServer
from hsrv.supervisor.upgrade.upgradestate import InheritedListener, ManagerDuties, UpgradeState, encode


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


class Manager(Protocol):
    """The service manager (`hsrv.supervisor.reports.notify`)."""

    duties: ManagerDuties

    @property
    def is_main_process(self) -> bool: ...

    def hand_over(self, pid: int) -> ManagerDuties | None: ...

    def become_main(self, duties: ManagerDuties, *, main: bool = False) -> None: ...


@dataclass(frozen=True)
class HandedOver:
    """The parts of a server that pass to the next one."""

    addresses: Addresses
    operator_socket: OperatorSocket | None
    adopt: tuple[Channel, Channel]
    leadership: int
    """Descriptor of the file of `hsrv.child.leadership`."""
    manager: Manager
    learned: Callable[[], list[str]]
    """Paths that turned out to be streams."""
    own_files: Callable[[], None]
    """Tell the templates, which remove socket files if the supervisor dies, which of them to remove."""


def start(
    ours: HandedOver, plan: View, launch: Launch, operation: str, keeper: KeeperChannel | None
) -> UpgradeCandidate:
    """Start a new server. `keeper`: the process whose pid others know; None if it is this one.
    Raises OSError or ChannelError."""
    with contextlib.ExitStack() as near, contextlib.ExitStack() as theirs:
        channel, far = Channel.pair()
        near.callback(channel.close)
        theirs.callback(far.close)
        kept = None
        if keeper is None and not ours.manager.is_main_process:
            kept, end = Channel.pair()
            near.callback(kept.close)
            theirs.callback(end.close)
            keeper = KeeperChannel(end)
        _send_state(channel, state_of(ours, plan, operation, kept=keeper is not None), ours, keeper)
        spawn = launch.spawn if keeper is not None else launch.spawn_beside
        pid = spawn(far.fileno())
        near.pop_all()
        return UpgradeCandidate(pid, channel, ReplacementServer(pid, kept))


def state_of(ours: HandedOver, plan: View, operation: str, *, kept: bool) -> UpgradeState:
    """State that the new server can't know by itself. `kept`: whether there is a keeper of the pid."""
    return UpgradeState(
        hsrv=__version__,
        operation=operation,
        listeners=tuple(_inherited(listener) for listener in ours.addresses.all()),
        instead_of_binds=ours.addresses.instead_of_binds,
        operator_socket=ours.operator_socket.info if ours.operator_socket is not None else None,
        kept=kept,
        generation=plan.last_number,
        workers=plan.workers if plan.workers != plan.settings.workers else None,
        held=plan.held,
        leadership=True,
        learned=tuple(ours.learned()),
        duties=ours.manager.duties,
    )


def _send_state(
    channel: Channel, state: UpgradeState, ours: HandedOver, keeper: KeeperChannel | None
) -> None:
    """With the descriptors, in the order that `UpgradeState` gives. Raises ChannelError."""
    fds = [listener.sock.fileno() for listener in ours.addresses.all()]
    fds += [ours.operator_socket.fileno()] if ours.operator_socket is not None else []
    fds += [end.fileno() for end in ours.adopt]
    fds += [keeper.channel.fileno()] if keeper is not None else []
    fds.append(ours.leadership)
    if len(fds) >= MAX_DESCRIPTORS:
        raise ChannelError(f"{len(fds)} sockets are more than a packet takes")
    channel.send(encode(state), *fds)


def _inherited(listener: Listener) -> InheritedListener:
    return InheritedListener(name=listener.name, info=listener.info, shared=listener.shared)
