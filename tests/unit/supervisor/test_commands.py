"""What each signal asks for, on a supervisor in memory."""

from typing import Any, cast

import pytest

from hsrv.supervisor.commands import Commands
from hsrv.supervisor.plan.state import ServerPhase
from hsrv.supervisor.runtime.signals import Command
from tests.unit.supervisor.inmemory import InMemory


class Hands:
    reaped = 0

    def reap(self) -> None:
        self.reaped += 1


class Upgrades:
    def __init__(self) -> None:
        self.begun: list[str] = []

    def begin(self, operation: str) -> None:
        self.begun.append(operation)


class Terminal:
    matters = False
    gone = False

    def has_gone(self) -> bool:
        return self.gone


class Signalled:
    def __init__(self) -> None:
        self.server = InMemory().serve()
        self.hands = Hands()
        self.upgrades = Upgrades()
        self.terminal = Terminal()
        self.commands = Commands(
            self.server.loop,
            cast("Any", self.hands),
            self.server.reloads,
            cast("Any", self.upgrades),
            cast("Any", None),  # the status is only read while a real stop waits
        )
        self.commands.terminal = cast("Any", self.terminal)

    def obey(self, *commands: Command) -> ServerPhase:
        for command in commands:
            self.commands.obey(command)
        return self.server.plan.phase


@pytest.fixture
def signalled() -> Signalled:
    return Signalled()


def test_a_stop_drains_and_the_second_one_kills(signalled: Signalled) -> None:
    signalled.server.hands.hangs = True
    assert signalled.obey(Command.STOP) is ServerPhase.STOPPING
    signalled.server.run(1.0)
    assert signalled.server.alive()
    signalled.obey(Command.STOP)
    signalled.server.run(1.0)
    signalled.server.check_over()


def test_quit_kills_at_once(signalled: Signalled) -> None:
    signalled.obey(Command.STOP_NOW)
    signalled.server.run(1.0)
    signalled.server.check_over()


def test_hup_reloads(signalled: Signalled) -> None:
    signalled.obey(Command.RELOAD)
    assert list(signalled.server.plan.generations) == [1, 2]


def test_hup_of_a_closed_terminal_stops_once(signalled: Signalled) -> None:
    """The terminal and the shell may both send it."""
    signalled.server.hands.hangs = True
    signalled.terminal.gone = True
    assert signalled.obey(Command.RELOAD, Command.RELOAD) is ServerPhase.STOPPING
    signalled.server.run(1.0)
    assert signalled.server.alive(), "the second is no second stop"


def test_ttin_and_ttou_change_the_number_of_workers_down_to_one(signalled: Signalled) -> None:
    signalled.obey(Command.MORE)
    assert signalled.server.plan.workers == 3
    signalled.obey(*[Command.FEWER] * 5)
    assert signalled.server.plan.workers == 1


def test_the_others_are_passed_on(signalled: Signalled) -> None:
    signalled.obey(Command.REAP, Command.UPGRADE, Command.REOPEN_LOGS)
    assert signalled.hands.reaped == 1
    assert len(signalled.upgrades.begun) == 1
    assert list(signalled.server.plan.generations) == [1]
