"""The first process of an upgraded server, with real processes to keep."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from hsrv.ipc.channel import Channel
from hsrv.supervisor.upgrade.keeper import KeeperChannel, ReplacementServer

SERVER = r"""
import os, signal, sys
from hsrv.ipc.channel import Channel
from hsrv.common.errors import ExitCode
from hsrv.supervisor.upgrade.keeper import ReplacementServer, KeeperChannel, hold_signals, keep
from hsrv.supervisor.runtime.terminal import Terminal

def serve(link, candidate):
    "A supervisor that ends with the number of the signal it is sent."
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    KeeperChannel(link).announce()
    signal.signal(signal.SIGUSR2, lambda *_: os._exit(1))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
    os.write(2, b"ready\n")
    if candidate:
        if os.fork() == 0:
            serve(link, False)
        os._exit(0)
    while True:
        signal.pause()

from hsrv.system.platform import become_subreaper
become_subreaper()
hold_signals()
ours, theirs = Channel.pair()
pid = os.fork()
if pid == 0:
    ours.close()
    serve(theirs, sys.argv[1] == "2")
theirs.close()
sys.exit(keep(ReplacementServer(pid, ours), Terminal()))
"""


@contextmanager
def family(code: str, count: int) -> "Iterator[subprocess.Popen[str]]":
    """A keeper and what it keeps, in a session of their own: none of them outlives the test, however it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(count)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # the test has seen the last of them end
                os.killpg(process.pid, signal.SIGKILL)
            process.stderr.read()  # until nobody holds its other end


@pytest.fixture(params=[1, 2], ids=["one follows", "and another one"])
def kept(request: pytest.FixtureRequest) -> "Iterator[subprocess.Popen[str]]":
    with family(SERVER, request.param) as process:
        assert process.stderr is not None
        for _ in range(request.param):
            assert process.stderr.readline() == "ready\n"
        yield process


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 5), (signal.SIGUSR2, 1)])
def test_signals_and_the_exit_code_pass_through(
    kept: "subprocess.Popen[str]", signum: signal.Signals, code: int
) -> None:
    kept.send_signal(signum)
    assert kept.wait(20) == code


def test_a_server_that_is_killed_ends_its_keeper_with_a_fault() -> None:
    code = SERVER.replace(
        "    while True:\n        signal.pause()", "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    with family(code, 1) as process:
        assert process.wait(20) == 1


def test_the_link_tells_of_the_present_one_and_of_the_end() -> None:
    ours, theirs = Channel.pair()
    replacement, link = ReplacementServer(0, ours), KeeperChannel(theirs)
    replacement.refresh()
    assert (replacement.pid, replacement.is_over, link.is_cut()) == (0, False, False)
    link.announce()
    replacement.refresh()
    assert replacement.pid == os.getpid()
    link.channel.close()
    replacement.refresh()
    assert replacement.is_over
    replacement.refresh()
    ours.close()


def test_a_keeper_that_is_gone_is_noticed() -> None:
    ours, theirs = Channel.pair()
    ours.close()
    link = KeeperChannel(theirs)
    assert link.is_cut()
    link.announce()
    theirs.close()
    assert ReplacementServer(1, None).is_over
