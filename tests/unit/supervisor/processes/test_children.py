"""A handle and its child's end of the control channel; real processes where one is killed."""

import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import anyio
import msgspec
import pytest

from hsrv.common.terms import DeathReason, Identity, Role
from hsrv.rpc import methods
from hsrv.supervisor.processes.children import LAST_WORDS_TIMEOUT, ChildHandle

DEADLINE = 10.0


class Heard:
    """What a handle reported."""

    def __init__(self) -> None:
        self.reports: list[Any] = []

    def __call__(self, child: ChildHandle, params: Any) -> None:
        self.reports.append(params)


def within_deadline(story: Callable[[ChildHandle, Heard], Awaitable[None]]) -> Heard:
    """Run a story with a handle."""
    heard = Heard()

    async def bounded() -> None:
        child = ChildHandle(Identity(Role.WORKER, 1, 1))
        with anyio.fail_after(DEADLINE):
            with closing(child.theirs):
                await story(child, heard)
            with suppress(RuntimeError):  # the story ran it
                await run(child, heard)

    anyio.run(bounded)
    return heard


async def run(child: ChildHandle, heard: Heard) -> None:
    await child.run(heard, heard, heard, heard)


def notification(method: str, **params: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params}) + b"\n"


FAILED = notification("failed", stage="lifespan", message="no database", traceback="Traceback")


def test_what_the_child_says_is_reported_in_order() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.theirs.sendall(
            notification("ready", pid=7, lifespan=True) + notification("learned", patterns=["/a"])
        )
        child.theirs.close()
        await run(child, heard)

    assert within_deadline(story).reports == [
        methods.ReadyParams(pid=7, lifespan=True),
        methods.LearnedParams(patterns=["/a"]),
    ]


def test_last_words_are_heard_although_the_end_is_known_before() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.theirs.sendall(FAILED)
        child.theirs.close()
        child.ended(DeathReason.EXIT, "exited with code 3")
        await run(child, heard)

    [failed] = within_deadline(story).reports
    assert failed.traceback == "Traceback"


def test_a_copy_of_the_channel_in_another_process_does_not_hold_up_the_end() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.theirs.sendall(FAILED)
        child.ended(DeathReason.EXIT, "exited with code 3")  # and child.theirs stays open
        began = anyio.current_time()
        await run(child, heard)
        assert anyio.current_time() - began < LAST_WORDS_TIMEOUT / 4

    assert len(within_deadline(story).reports) == 1


def test_a_message_that_is_none_ends_nothing() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.theirs.sendall(
            b"\xff\n" + notification("ready", pid="seven") + notification("unknown") + FAILED
        )
        child.theirs.close()
        await run(child, heard)

    assert len(within_deadline(story).reports) == 1


def test_a_dismissed_child_reads_end_of_file() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, child, heard)
            child.dismiss()
        assert child.theirs.recv(1) == b""
        child.dismiss()

    within_deadline(story)


def test_a_command_goes_out_and_its_confirmation_is_not_waited_for() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, child, heard)
            await anyio.wait_all_tasks_blocked()
            child.command(tasks, methods.DRAIN, methods.DrainParams(graceful_timeout=1.0, stream_grace=2.0))
            child.tell(tasks, methods.POOL_AVAILABLE, methods.PoolAvailableParams(available=False))
            await anyio.wait_all_tasks_blocked()
            drain, available = map(msgspec.json.decode, child.theirs.recv(65536).splitlines())
            assert (drain["method"], drain["params"]["graceful_timeout"]) == ("drain", 1.0)
            assert available["params"]["available"] is False
            child.theirs.shutdown(socket.SHUT_RDWR)

    within_deadline(story)


def test_a_command_to_a_child_that_is_gone_is_harmless() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.theirs.close()
        await run(child, heard)
        async with anyio.create_task_group() as tasks:
            child.command(tasks, methods.SERVE, methods.ServeParams(level="info"))
            child.tell(tasks, methods.LEARNED, methods.LearnedParams(patterns=[]))
        child.dismiss()

    within_deadline(story)


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_the_reason_of_a_kill_is_the_reason_of_the_death(sleeper: "subprocess.Popen[bytes]") -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.pid = sleeper.pid
        child.kill(DeathReason.HUNG, "it was late")
        assert sleeper.wait(DEADLINE) == -signal.SIGKILL
        assert not child.gone.is_set(), "its end is not known yet"
        child.ended(DeathReason.SIGNAL, "was killed by SIGKILL")
        assert child.death == "was killed: it was late"
        assert child.reason is DeathReason.HUNG, "what we meant, not what the kernel says"

    within_deadline(story)


def test_a_pid_is_not_killed_once_its_end_is_known(sleeper: "subprocess.Popen[bytes]") -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.pid = sleeper.pid  # as if the pid were another process's by now
        child.ended(DeathReason.EXIT, "exited with code 0")
        child.kill(DeathReason.HUNG, "it was late")
        assert child.death == "exited with code 0"

    within_deadline(story)
    assert sleeper.poll() is None


def pid_of_the_past() -> int:
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_a_child_whose_pid_is_gone_has_ended() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.pid = pid_of_the_past()
        child.kill(DeathReason.HUNG, "it was late")
        assert child.gone.is_set()

    within_deadline(story)


def test_the_first_account_of_an_end_counts() -> None:
    async def story(child: ChildHandle, heard: Heard) -> None:
        child.ended(DeathReason.NOT_FORKED, "was not forked")
        child.ended(DeathReason.EXIT, "exited with code 0")
        assert child.death == "was not forked"
        assert child.reason is DeathReason.NOT_FORKED

    within_deadline(story)
