import signal
import subprocess
import sys

import pytest

from hsrv.supervisor.runtime.signals import COMMANDS, Command, handled

DOCUMENTED = {
    signal.SIGTERM: Command.STOP,
    signal.SIGINT: Command.STOP,
    signal.SIGQUIT: Command.STOP_NOW,
    signal.SIGHUP: Command.RELOAD,
    signal.SIGTTIN: Command.MORE,
    signal.SIGTTOU: Command.FEWER,
    signal.SIGUSR1: Command.REOPEN_LOGS,
    signal.SIGUSR2: Command.UPGRADE,
}


@pytest.mark.parametrize("signum", DOCUMENTED)
def test_a_signal_means_what_the_manual_says(signum: signal.Signals) -> None:
    assert COMMANDS[signum] is DOCUMENTED[signum]


def test_every_signal_is_heard_unless_it_was_ignored_from_the_start() -> None:
    assert set(handled()) == set(COMMANDS)


def heard_under(*ignored: signal.Signals) -> set[str]:
    """The signals that a process hears which was started with some of them ignored."""
    code = (
        f"import signal; [signal.signal(n, signal.SIG_IGN) for n in {[int(n) for n in ignored]}];"
        "from hsrv.supervisor.runtime.signals import handled; print(*[s.name for s in handled()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    return set(done.stdout.split())


def test_what_nohup_ignores_stays_ignored_but_never_the_stop_and_the_dead() -> None:
    everything = {signum.name for signum in COMMANDS}
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    assert heard_under(*ignored) == everything - {"SIGHUP"}
