"""The first process of a server that was upgraded: it stays, because its parent waits for it.

A shell, a container or a process manager knows one pid. When its server has handed everything over, this process
forwards signals to the present supervisor, and exits with its exit code. Under a service manager that was told of the
new main process no keeper is needed.
"""

import contextlib
import os
import select
import signal
import time
from typing import Final

from setproctitle import setproctitle

from hsrv.common.errors import ExitCode
from hsrv.ipc.channel import Channel, ChannelClosed, ChannelError
from hsrv.logs.logging import get_logger
from hsrv.supervisor.runtime.signals import Command, command_of, handled
from hsrv.supervisor.runtime.terminal import LOOK_INTERVAL, Terminal
from hsrv.system.reaping import reap

log = get_logger("hsrv.supervisor")


class KeeperChannel:
    """A supervisor's end of the channel to the keeper. It passes from each server to the next."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def announce(self) -> None:
        """Tell the keeper that this is the present supervisor."""
        with contextlib.suppress(ChannelError):  # the keeper was killed, which is noticed elsewhere
            self.channel.send(str(os.getpid()).encode())

    def is_cut(self) -> bool:
        """Whether the keeper has ended. It sends nothing."""
        try:
            self.channel.receive(expect=0)
        except ChannelClosed:
            return True
        return False


class ReplacementServer:
    """The server that has replaced this one, and its own replacements."""

    def __init__(self, pid: int, channel: Channel | None) -> None:
        """`channel`: our end of the channel; None if no keeper is needed."""
        self.pid = pid
        self.status: int | None = None
        """Its wait status; None until it has ended."""
        self.channel = channel
        self._over = channel is None

    @property
    def is_over(self) -> bool:
        """Whether the last of them has ended."""
        return self._over

    def refresh(self) -> None:
        """Read which supervisor is the present one."""
        while self.channel is not None and not self._over:
            try:
                packet = self.channel.receive(expect=0)
            except ChannelClosed:
                self._over = True
                return
            if packet is None:
                return
            with packet:
                self.pid, self.status = int(packet.payload), None

    def signal(self, signum: int) -> None:
        self.refresh()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)


ADOPTION_TIMEOUT: Final = 5.0
"""Seconds for a server that has ended to become a child of this process."""

ADOPTION_INTERVAL: Final = 0.01

BLOCKED: Final = frozenset(handled())


def hold_signals() -> None:
    """Block signals between the end of the event loop and `keep`: none is lost, and none ends the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)


def keep(replacement: ReplacementServer, terminal: Terminal) -> ExitCode:
    """Until the last server has ended. `terminal`: the controlling terminal of this process, if it has one; the servers
    have none."""
    assert replacement.channel is not None
    log.info(
        "keeping the pid",
        successor=replacement.pid,
        why="the parent of this server knows only this process",
    )
    setproctitle("hsrv: keeper")
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    try:
        for signum in BLOCKED:
            signal.signal(signum, lambda *_: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
        while not replacement.is_over:
            terminal.look()
            select.select(
                [read, replacement.channel.fileno()], [], [], LOOK_INTERVAL if terminal.matters else None
            )
            replacement.refresh()
            for number in _waiting(read):
                command = command_of(number)
                if command is Command.RELOAD and terminal.has_gone():
                    replacement.signal(signal.SIGTERM)
                elif command is not Command.REAP:
                    replacement.signal(number)
            _reap(replacement)
    finally:
        signal.set_wakeup_fd(-1)
        os.close(read)
        os.close(write)
    return _exit_code(replacement)


def _waiting(read: int) -> bytes:
    try:
        return os.read(read, 4096)
    except BlockingIOError:
        return b""


def _reap(replacement: ReplacementServer) -> None:
    """Collect supervisors that have ended, and orphans of theirs."""
    for pid, status in reap():
        if pid == replacement.pid:
            replacement.status = status


def _exit_code(replacement: ReplacementServer) -> ExitCode:
    """The channel ends a moment before the process; and that is a child of its predecessor, and becomes ours when the
    predecessor has ended."""
    end = time.monotonic() + ADOPTION_TIMEOUT
    while replacement.status is None and time.monotonic() < end:
        try:
            _, replacement.status = os.waitpid(replacement.pid, 0)
        except ChildProcessError:
            time.sleep(ADOPTION_INTERVAL)
    if replacement.status is None:
        log.error("the server died", pid=replacement.pid, why="its exit status is unknown")
        return ExitCode.INTERNAL
    code = os.waitstatus_to_exitcode(replacement.status)
    try:
        return ExitCode(code)
    except ValueError:
        log.error("the server died", pid=replacement.pid, status=code)
        return ExitCode.INTERNAL
