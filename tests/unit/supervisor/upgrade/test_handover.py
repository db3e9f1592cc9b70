"""What a new server is given, and when none is started: real channels and sockets, processes that are none."""

import os
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from hsrv.ipc.anonfile import anonymous_file
from hsrv.ipc.channel import MAX_DESCRIPTORS, Channel, ChannelError
from hsrv.supervisor.plan.state import View
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.sockets.listeners import close_listeners, open_listeners
from hsrv.supervisor.upgrade.candidate import UpgradeCandidate
from hsrv.supervisor.upgrade.handover import HandedOver, start, state_of, why_not
from hsrv.supervisor.upgrade.keeper import KeeperChannel
from hsrv.supervisor.upgrade.takeover import Takeover
from hsrv.supervisor.upgrade.upgradestate import Failed, ManagerDuties
from tests.unit.descriptors import open_descriptors
from tests.unit.supervisor.plan.fleets import Fleet

NO_PROCESS = 1 << 23


class Manager:
    duties = ManagerDuties(notify="@n")

    def __init__(self, *, main: bool) -> None:
        self.is_main_process = main


class Launch:
    """Notes how it was asked, and what the new process would receive."""

    error: OSError | None = None

    def __init__(self) -> None:
        self.how = ""
        self.takeover: Takeover | None = None

    def spawn(self, fd: int) -> int:
        return self._spawn("child", fd)

    def spawn_beside(self, fd: int) -> int:
        return self._spawn("beside", fd)

    def _spawn(self, how: str, fd: int) -> int:
        if self.error is not None:
            raise self.error
        self.how = how
        self.takeover = Takeover.receive(Channel(socket.socket(fileno=os.dup(fd))))
        return NO_PROCESS


@pytest.fixture
def launch() -> Iterator[Launch]:
    launch = Launch()
    yield launch
    if (takeover := launch.takeover) is not None:
        takeover.close()
        takeover.inheritance.close_rest()
        for end in takeover.adopt or ():
            end.close()
        if takeover.keeper is not None:
            takeover.keeper.channel.close()
        os.close(takeover.leadership)


@pytest.fixture
def ours() -> Iterator[HandedOver]:
    listeners = open_listeners(["127.0.0.1:0"], backlog=1, unix_mode=0)
    adopt, leadership = Channel.pair(), anonymous_file("hsrv-test")
    manager = cast("Any", Manager(main=False))
    yield HandedOver(
        Addresses(listeners), None, adopt, leadership, manager, lambda: ["/learned"], lambda: None
    )
    close_listeners(listeners)
    for end in adopt:
        end.close()
    os.close(leadership)


def plan() -> View:
    fleet = Fleet()
    fleet.serve()
    fleet.scale(1)
    return fleet.plan


def begin(ours: HandedOver, launch: Launch, keeper: KeeperChannel | None = None) -> UpgradeCandidate:
    return start(ours, plan(), cast("Any", launch), "u1", keeper)


def test_the_new_server_receives_state_and_descriptors_before_it_runs(
    ours: HandedOver, launch: Launch
) -> None:
    candidate = begin(ours, launch)
    takeover = launch.takeover
    assert takeover is not None
    state = takeover.state
    assert (state.operation, state.generation, state.workers, state.learned) == ("u1", 1, 3, ("/learned",))
    assert state.duties == Manager.duties
    [listener] = ours.addresses.listeners
    [fd] = takeover.inheritance.take(listener.name)
    assert os.path.sameopenfile(fd, listener.sock.fileno())
    assert os.path.sameopenfile(takeover.leadership, ours.leadership)
    os.close(fd)
    takeover.refuse("no")
    assert candidate.hear() == Failed("no"), "its channel stays open"
    candidate.close()


def test_without_a_manager_this_process_stays_as_the_keeper(ours: HandedOver, launch: Launch) -> None:
    candidate = begin(ours, launch)
    assert candidate.replacement.channel is not None
    assert launch.takeover is not None
    assert launch.takeover.keeper is not None
    assert launch.how == "child"
    candidate.close()


def test_a_keeper_is_passed_on(ours: HandedOver, launch: Launch) -> None:
    near, far = Channel.pair()
    candidate = begin(ours, launch, KeeperChannel(near))
    assert candidate.replacement.channel is None, "it is not this process"
    assert launch.takeover is not None
    assert launch.takeover.keeper is not None
    for end in (near, far):
        end.close()
    candidate.close()


def test_a_main_process_of_a_manager_needs_no_keeper(ours: HandedOver, launch: Launch) -> None:
    cast("Any", ours.manager).is_main_process = True
    candidate = begin(ours, launch)
    assert candidate.replacement.channel is None
    assert launch.takeover is not None
    assert launch.takeover.keeper is None
    assert launch.how == "beside", "the manager waits only for its own child"
    candidate.close()


def test_what_was_opened_for_one_that_can_not_be_started_is_closed(ours: HandedOver, launch: Launch) -> None:
    launch.error = OSError("no memory")
    before = open_descriptors()
    with pytest.raises(OSError, match="no memory"):
        begin(ours, launch)
    assert open_descriptors() <= before


def test_more_sockets_than_a_packet_takes_are_refused(ours: HandedOver, launch: Launch) -> None:
    ours.addresses.listeners.extend(ours.addresses.listeners * MAX_DESCRIPTORS)
    with pytest.raises(ChannelError, match="more than a packet takes"):
        begin(ours, launch)
    del ours.addresses.listeners[1:]


def test_a_number_of_workers_as_configured_is_not_passed_on(ours: HandedOver) -> None:
    fleet = Fleet()
    fleet.serve()
    assert state_of(ours, fleet.plan, "u1", kept=False).workers is None


def test_each_moment_at_which_no_upgrade_can_begin() -> None:
    fleet = Fleet()
    fleet.start()
    assert why_not(fleet.plan, development=False, upgrading=False) == "the server starts"
    fleet = Fleet()
    fleet.serve()
    assert why_not(fleet.plan, development=False, upgrading=False) == ""
    assert why_not(fleet.plan, development=True, upgrading=False) == "not with --reload: stop and start it"
    assert why_not(fleet.plan, development=False, upgrading=True) == "an upgrade is under way already"
    fleet.start("r1")
    assert why_not(fleet.plan, development=False, upgrading=False) == "a reload is under way"
    fleet.stop()
    assert why_not(fleet.plan, development=False, upgrading=False) == "the server stops"
