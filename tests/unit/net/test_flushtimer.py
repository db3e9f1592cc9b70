"""A timer of the kernel that calls back in a thread."""

import gc
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from hsrv.net.flushtimer import SWITCH_INTERVAL, FlushTimer

DEADLINE = 10.0

pytestmark = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="there is no timerfd")


def test_it_calls_back_in_another_thread_once_it_expires() -> None:
    called = threading.Event()
    threads: list[int] = []

    def callback() -> None:
        threads.append(threading.get_ident())
        called.set()

    timer = FlushTimer(callback)
    began = time.monotonic()
    timer.move_to(0.02)
    assert called.wait(DEADLINE)
    assert time.monotonic() - began >= 0.02
    assert threads != [threading.get_ident()]


def test_one_that_is_moved_on_in_time_does_not_call_back() -> None:
    calls: list[int] = []
    timer = FlushTimer(lambda: calls.append(1))
    for _ in range(20):
        timer.move_to(DEADLINE)
        time.sleep(0.001)
    assert calls == []


def test_it_calls_back_while_python_code_computes() -> None:
    calls: list[float] = []
    timer = FlushTimer(lambda: calls.append(time.perf_counter()))
    best = DEADLINE
    for _ in range(8):
        calls.clear()
        began = time.perf_counter()
        timer.move_to(0.001)
        while time.perf_counter() < began + 0.1:
            pass
        best = min(best, calls[0] - began)
    assert best < 0.001 + 2 * SWITCH_INTERVAL
    assert sys.getswitchinterval() <= SWITCH_INTERVAL + 1e-6


def test_one_that_is_not_used_any_more_leaves_no_thread_and_no_descriptor() -> None:
    def shape() -> tuple[int, int]:
        return len(list(Path("/proc/self/task").iterdir())), len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()
    before = shape()
    timers = [FlushTimer(lambda: None) for _ in range(5)]
    assert shape() > before
    del timers
    gc.collect()
    end = time.monotonic() + DEADLINE
    while any(now > then for now, then in zip(shape(), before, strict=True)) and time.monotonic() < end:
        time.sleep(0.005)
    now = shape()
    assert now[0] <= before[0]  # fewer: a timer of an earlier test had not ended yet
    assert now[1] <= before[1]
