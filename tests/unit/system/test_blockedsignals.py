"""Signals that wait. In a process of its own: the mask and the handlers are the whole process's."""

import subprocess
import sys

BLOCKED = """
import os, signal
from hsrv.system import blockedsignals

signal.signal(signal.SIGINT, signal.default_int_handler)
heard = []
signal.signal(signal.SIGHUP, lambda *_: heard.append("HUP"))
blockedsignals.block()
os.kill(os.getpid(), signal.SIGHUP)
assert not blockedsignals.stop_is_pending(), "a reload is no stop"
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGQUIT)
assert not blockedsignals.stop_is_pending(), "what is ignored asks for nothing"
os.kill(os.getpid(), signal.SIGINT)
assert blockedsignals.stop_is_pending()
assert heard == []
blockedsignals.discard_pending()
blockedsignals.unblock()
assert heard == [], "it was meant for what is over"
blockedsignals.block()
os.kill(os.getpid(), signal.SIGHUP)
blockedsignals.unblock()
assert heard == ["HUP"], "none is lost"
"""


def test_they_wait_and_are_heard_or_forgotten() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
