"""The new side of an upgrade, with the old one at the other end of a real channel."""

import os
from collections.abc import Iterator, MutableMapping

import anyio
import pytest

from hsrv.common.errors import HsrvError
from hsrv.ipc.anonfile import anonymous_file
from hsrv.ipc.channel import Channel
from hsrv.supervisor.operators.operations import Operation
from hsrv.supervisor.plan.state import ServerPhase
from hsrv.supervisor.runtime.launch import SUCCEEDS
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.upgrade.takeover import Takeover, takeover_from
from hsrv.supervisor.upgrade.upgradestate import (
    Failed,
    ManagerDuties,
    Ready,
    Step,
    TakeOver,
    ToOld,
    UpgradeState,
    decode_to_old,
    encode,
)
from tests.unit.descriptors import open_descriptors
from tests.unit.supervisor.inmemory import InMemory

pytestmark = pytest.mark.anyio
STATE = UpgradeState(hsrv="0.1", operation="u1", listeners=(), generation=7, workers=3, held=True)
DUTIES = ManagerDuties(notify="@n")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Old:
    """The old server's end, and the new server in memory."""

    def __init__(self) -> None:
        self.channel, self.far = Channel.pair()
        self.server = InMemory()
        self.duties: list[ManagerDuties] = []

    def give(self, state: UpgradeState = STATE) -> Takeover:
        adopt = Channel.pair()
        self.channel.send(encode(state), *(end.fileno() for end in adopt))
        for end in adopt:
            end.close()
        self.takeover = Takeover.receive(self.far)
        self.start = Operation("u1")
        self.takeover.restore(self.server.plan, self.start)
        return self.takeover

    def heard(self) -> list[ToOld]:
        found = []
        while (packet := self.channel.receive(expect=0)) is not None:
            with packet:
                found.append(decode_to_old(packet.payload))
        return found

    async def run(self) -> None:
        await self.takeover.run(self.server.loop, Addresses([]), self.duties.append)

    def close(self) -> None:
        self.channel.close()
        self.far.close()
        for end in (getattr(self, "takeover", None) and self.takeover.adopt) or ():
            end.close()


@pytest.fixture
def old() -> Iterator[Old]:
    old = Old()
    yield old
    old.close()


def test_a_start_without_an_old_server_takes_nothing_over() -> None:
    assert takeover_from({}) is None


def test_a_variable_that_a_user_has_set_is_refused_and_removed() -> None:
    environ: MutableMapping[str, str] = {SUCCEEDS: "yes"}
    with pytest.raises(HsrvError, match="hsrv upgrade"):
        takeover_from(environ)
    assert environ == {}


def test_a_packet_that_can_not_be_read_is_answered_with_the_reason(old: Old) -> None:
    old.channel.send(b"\xff")
    with pytest.raises(HsrvError, match="can't take over"):
        Takeover.receive(old.far)
    [failed] = old.heard()
    assert isinstance(failed, Failed)


def test_the_state_of_the_old_server_goes_on(old: Old) -> None:
    old.give()
    plan = old.server.start().plan
    assert list(plan.generations) == [8]
    assert (plan.workers, plan.held) == (3, True)


def test_the_adopt_channel_of_another_version_is_not_read(old: Old) -> None:
    before = open_descriptors()
    takeover = old.give(UpgradeState(hsrv="0.1", operation="u1", listeners=(), generation=7, messages=-1))
    assert takeover.adopt is None
    assert open_descriptors() <= before, "its ends are closed"


def test_the_leadership_is_inherited(old: Old) -> None:
    file = anonymous_file("hsrv-test")
    adopt = Channel.pair()
    state = UpgradeState(hsrv="0.1", operation="u1", listeners=(), generation=7, leadership=True)
    old.channel.send(encode(state), *(end.fileno() for end in adopt), file)
    takeover = old.takeover = Takeover.receive(old.far)
    assert os.path.sameopenfile(takeover.leadership, file)
    for fd in (file, takeover.leadership):
        os.close(fd)
    for end in adopt:
        end.close()


async def test_steps_and_the_end_are_reported_and_the_word_takes_over(old: Old) -> None:
    takeover = old.give()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(old.run)
            old.start.step("template ready")
            old.start.end("", "")
            await anyio.wait_all_tasks_blocked()
            assert old.heard() == [Step("template ready"), Ready(adopts=True)]
            assert old.duties == []
            old.channel.send(encode(TakeOver()))
            while not old.duties:  # noqa: ASYNC110  # it has no event
                await anyio.sleep(0.001)
            old.channel.close()
    assert takeover.is_over
    assert len(old.duties) == 1
    assert old.server.said("took over")


async def test_a_start_that_fails_is_reported_once(old: Old) -> None:
    takeover = old.give()
    old.start.end("no module", "Traceback")
    takeover.answer()
    takeover.refuse("another reason")
    assert old.heard() == [Failed("no module", "Traceback")]


@pytest.mark.parametrize("ready", [True, False])
async def test_when_the_old_server_dies_one_that_is_ready_takes_over_and_another_stops(
    old: Old, ready: bool
) -> None:
    takeover = old.give()
    old.server.start()
    if ready:
        old.start.end("", "")
        takeover.answer()
    old.channel.close()
    with anyio.move_on_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(old.run)
            await takeover.old_gone.wait()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert takeover.is_over is ready
    assert (old.server.plan.phase is ServerPhase.RUNNING) is ready
