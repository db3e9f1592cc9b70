"""Threads of the operating system, with an end that is waited for."""

import time
from threading import Event

from hsrv.system.realthreads import RealThread


def test_it_is_told_to_end_and_waited_for() -> None:
    over = Event()

    def turn() -> None:
        while not thread.pause(0.001):
            pass
        over.set()

    thread = RealThread(turn)
    thread.start()
    thread.end(10)
    assert over.is_set()


def test_who_does_not_end_is_waited_for_no_longer_than_said() -> None:
    ends = Event()

    def stay() -> None:
        ends.wait(10)

    thread = RealThread(stay)
    thread.start()
    before = time.monotonic()
    thread.end(0.05)
    assert time.monotonic() - before < 5
    ends.set()
