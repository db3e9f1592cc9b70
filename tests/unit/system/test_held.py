"""Signals that wait. In a process of its own: the mask and the handlers are the whole process's."""

import subprocess
import sys

HELD = """
import os, signal
from hsrv.system import held

signal.signal(signal.SIGINT, signal.default_int_handler)
heard = []
signal.signal(signal.SIGHUP, lambda *_: heard.append("HUP"))
held.hold()
os.kill(os.getpid(), signal.SIGHUP)
assert not held.stop_waits(), "a reload is no stop"
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGQUIT)
assert not held.stop_waits(), "what is ignored asks for nothing"
os.kill(os.getpid(), signal.SIGINT)
assert held.stop_waits()
assert heard == []
held.forget()
held.let_through()
assert heard == [], "it was meant for what is over"
held.hold()
os.kill(os.getpid(), signal.SIGHUP)
held.let_through()
assert heard == ["HUP"], "none is lost"
"""


def test_they_wait_and_are_heard_or_forgotten() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
