"""What a service manager at the other end of a real socket is told."""

import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hsrv.supervisor.reports.notify import RETRY, ManagerNotifier
from hsrv.supervisor.runtime.reports import ReloadBegun
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.upgrade.upgradestate import ManagerDuties
from tests.unit.supervisor.plan.fleets import Fleet

Make = Callable[..., ManagerNotifier]


class Manager:
    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.address)
        self.sock.setblocking(False)

    def heard(self) -> list[str]:
        """Everything since it was asked last, line by line."""
        lines: list[str] = []
        while True:
            try:
                lines += self.sock.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.sock.close()


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def notifier(fleet: Fleet) -> Iterator[Callable[..., ManagerNotifier]]:
    with ExitStack() as made:

        def make(**duties: object) -> ManagerNotifier:
            one = ManagerNotifier(ManagerDuties(**duties), fleet.plan, Addresses([]))  # type: ignore[arg-type]  # of any kind
            made.callback(one.close)
            return one

        yield make


def told(manager: Manager) -> list[str]:
    return [line for line in manager.heard() if not line.startswith(("STATUS=", "EXTEND_", "MONOTONIC"))]


def test_without_a_manager_nothing_is_ever_due(notifier: Make) -> None:
    assert notifier().look() == math.inf


def test_a_life_is_told_once_each(manager: Manager, fleet: Fleet, notifier: Make) -> None:
    one = notifier(notify=manager.address)
    one.look()
    assert told(manager) == []
    fleet.serve()
    one.look()
    one.look()
    assert told(manager) == ["READY=1"]
    fleet.stop()
    one.look()
    assert told(manager) == ["STOPPING=1"]


def test_a_reload_is_told_at_once_and_its_end_too(manager: Manager, fleet: Fleet, notifier: Make) -> None:
    one = notifier(notify=manager.address)
    fleet.serve()
    one.look()
    one.hear(ReloadBegun(operation="r1"))
    one.look()
    assert told(manager) == ["READY=1", "RELOADING=1", "READY=1"], "it was over before anybody looked"


def test_while_it_starts_it_asks_for_time(manager: Manager, fleet: Fleet, notifier: Make) -> None:
    one = notifier(notify=manager.address)
    fleet.start()
    one.look()
    assert [line for line in manager.heard() if line.startswith("EXTEND_")] == [
        "EXTEND_TIMEOUT_USEC=15000000"
    ]
    one.look()
    assert not [line for line in manager.heard() if line.startswith("EXTEND_")], "not more often than it must"


def test_signs_of_life_end_when_no_worker_serves(manager: Manager, fleet: Fleet, notifier: Make) -> None:
    one = notifier(notify=manager.address, watchdog=0.0001)
    fleet.serve()
    one.look()
    assert "WATCHDOG=1" in told(manager)
    for name in ("worker-1", "worker-2"):
        fleet.exited(name, reason="was killed by SIGKILL")
    one.look()
    assert "WATCHDOG=1" not in told(manager)


def test_what_did_not_reach_it_is_told_again(manager: Manager, fleet: Fleet, notifier: Make) -> None:
    one = notifier(notify=manager.address)
    fleet.serve()
    manager.sock.close()
    Path(manager.address).unlink()
    assert one.look() < math.inf
    again = Manager(Path(manager.address))
    one.look()
    assert told(again) == ["READY=1"]
    assert RETRY > 0
    again.sock.close()


def test_after_a_hand_over_nothing_is_told_and_a_take_over_tells_the_pid(
    manager: Manager, fleet: Fleet, notifier: Make
) -> None:
    one = notifier(notify=manager.address)
    fleet.serve()
    one.look()
    duties = one.hand_over(99)
    assert duties is not None
    assert told(manager) == ["READY=1", "MAINPID=99"]
    fleet.stop()
    assert one.look() == math.inf
    assert told(manager) == []
    one.become_main(duties, main=True)
    assert told(manager) == [f"MAINPID={os.getpid()}", "STOPPING=1"]


def test_a_manager_that_is_not_reached_keeps_the_server(tmp_path: Path, notifier: Make) -> None:
    one = notifier(notify=str(tmp_path / "nobody"))
    assert one.hand_over(99) is None
    assert one.is_main_process
