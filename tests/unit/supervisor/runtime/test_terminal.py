"""Ctrl-C that is passed on again."""

import subprocess
import sys

import anyio
import pytest

from hsrv.supervisor.runtime import terminal

COUNTS = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_who_has_not_ended_gets_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "REPEATS", (0.1, 0.1))
    with subprocess.Popen([sys.executable, "-c", COUNTS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            anyio.run(terminal.repeat_interrupt, lambda: [process.pid])
            assert [process.stdout.readline() for _ in range(2)] == ["heard\n"] * 2
        finally:
            process.kill()
    anyio.run(terminal.repeat_interrupt, lambda: [process.pid])  # one that is gone
