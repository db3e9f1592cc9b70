"""Signs of life, and what the thread sees while the loop stands still."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hsrv.board.heartbeat import Heartbeat
from hsrv.board.layout import STALLED_AFTER, Occupant
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.board.snapshot import Snapshot

DEADLINE = 20.0


@pytest.fixture
def fd() -> Iterator[int]:
    fd = new_board()
    yield fd
    os.close(fd)


def nobody(task: asyncio.Task[Any] | None) -> None:
    return None


def look(fd: int) -> Snapshot:
    snapshot = read_board(fd)
    assert snapshot is not None
    return snapshot


def until(fd: int, condition: Callable[[Snapshot], bool]) -> Snapshot:
    """Blocks: to be called from the loop, it is what the loop stands still in."""
    end = time.monotonic() + DEADLINE
    while not condition(snapshot := look(fd)):
        assert time.monotonic() < end, snapshot
        time.sleep(0.01)
    return snapshot


def test_both_beat_while_the_loop_turns(fd: int) -> None:
    async def scenario() -> None:
        with Heartbeat(Scoreboard(fd), asyncio.get_running_loop(), nobody, print):
            first = look(fd)
            end = time.monotonic() + DEADLINE
            while not (look(fd).loop_beat > first.loop_beat and look(fd).thread_beat > 0):
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
        assert look(fd).note == ""

    asyncio.run(scenario())
    assert not [thread for thread in threading.enumerate() if thread.name == "hsrv-heartbeat"]


def test_silence_after_the_end_is_no_hang(fd: int) -> None:
    async def scenario() -> None:
        with Heartbeat(Scoreboard(fd), asyncio.get_running_loop(), nobody, print):
            until(fd, lambda snapshot: bool(snapshot.note))

    asyncio.run(scenario())
    last = look(fd)
    assert (last.thread_beat, last.loop_beat, last.stalled, last.note) == (0.0, 0.0, None, "")


def test_a_loop_that_stands_still_is_described(fd: int) -> None:
    async def blocks() -> Snapshot:
        return until(fd, lambda snapshot: bool(snapshot.note))

    async def scenario() -> None:
        await asyncio.sleep(0)
        task = asyncio.create_task(blocks(), name="the culprit")

        stalls = threading.Event()

        def occupant(asked: asyncio.Task[Any] | None) -> Occupant | None:
            assert asked is task
            return Occupant(5.0, "GET", b"/slow", "req-7", b"10.0.0.9")

        with Heartbeat(Scoreboard(fd), asyncio.get_running_loop(), occupant, stalls.set):
            seen = await task
            assert stalls.is_set()
            assert time.monotonic() - seen.loop_beat > STALLED_AFTER
            assert "blocks" in seen.note
            assert "the culprit" in seen.note
            assert __file__ in seen.note
            assert seen.stalled is not None
            assert seen.stalled.since >= seen.loop_beat, "of the step, not of the request"
            assert (seen.stalled.path, seen.stalled.request_id) == ("/slow", "req-7")
            end = time.monotonic() + DEADLINE
            while look(fd).note:  # it turns again
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
            assert look(fd).stalled is None

    asyncio.run(scenario())
