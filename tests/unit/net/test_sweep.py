"""When the sweep looks at deadlines."""

import asyncio
import time
from collections.abc import Callable

import pytest

from hsrv.net import sweep as module
from hsrv.net.loops import new_loop
from hsrv.net.poller import turn_of
from hsrv.net.sweep import Sweep
from hsrv.system.realthreads import RLock

SWEEP_INTERVAL = 0.1


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_INTERVAL", SWEEP_INTERVAL)


def swept(during: Callable[[asyncio.AbstractEventLoop], None], seconds: float) -> list[float]:
    """loop.time() of each sweep within so many seconds; `during` is called when they begin."""
    loop = new_loop("asyncio")
    found: list[float] = []
    began = loop.time()
    sweep = Sweep(loop, turn_of(loop), lambda now: found.append(now - began))
    sweep.start()
    loop.call_later(0.01, during, loop)
    loop.run_until_complete(asyncio.sleep(seconds))
    sweep.stop()
    loop.close()
    return found


def test_after_the_process_stood_still_what_has_arrived_is_read_before_anything_is_judged() -> None:
    found = swept(lambda _: time.sleep(2 * SWEEP_INTERVAL + 0.02), 2.5 * SWEEP_INTERVAL + 0.04)
    assert not found or found[0] > 3 * SWEEP_INTERVAL, "the late one is put off"


def test_a_sweep_is_put_off_once_only() -> None:
    """Or a process that computes all the time would never sweep."""

    def blocks_again(loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(blocks_again, loop)
        time.sleep(2 * SWEEP_INTERVAL + 0.02)

    assert swept(blocks_again, 3 * SWEEP_INTERVAL)


def test_it_acts_with_the_lock_held_and_not_after_its_end() -> None:
    loop = new_loop("asyncio")
    turn, held = RLock(), []
    sweep = Sweep(loop, turn, lambda _: held.append(turn.acquire(blocking=False)))
    sweep.start()
    loop.run_until_complete(asyncio.sleep(1.2 * SWEEP_INTERVAL))
    sweep.stop()
    count = len(held)
    loop.run_until_complete(asyncio.sleep(1.2 * SWEEP_INTERVAL))
    loop.close()
    assert count == len(held) == 1
