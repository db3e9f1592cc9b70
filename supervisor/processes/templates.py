"""The supervisor's view of one template: a fresh interpreter and its packet channel."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

import anyio

from hsrv.common.terms import Preload
from hsrv.ipc.channel import Channel, ChannelClosed, ChannelError
from hsrv.ipc.messages import (
    Boot,
    Failure,
    Fork,
    FromTemplate,
    ListenerInfo,
    MessageError,
    Own,
    Quit,
    Renew,
    ToTemplate,
    decode_from_template,
    encode,
)
from hsrv.logs.logging import get_logger, line_writer
from hsrv.options.config import Config, options, without_secrets
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.runtime.inoperation import log_context
from hsrv.supervisor.sockets.listeners import Listener
from hsrv.system import blockedsignals

log = get_logger("hsrv.supervisor")

NOTHING_MORE: Final[Mapping[str, str]] = {}

OnMessage = Callable[["TemplateHandle", FromTemplate], None]


class TemplateHandle:
    """One template process."""

    def __init__(self, generation: int, environ: Mapping[str, str] = NOTHING_MORE) -> None:
        """Starts it. Raises OSError. `environ`: variables beside our own, for it and all that it forks."""
        self.generation = generation
        self.config = Config()
        """Of the processes that it forks."""
        self.is_ready = False
        """Its imports are complete."""
        self.began = time.time()
        """Seconds since the epoch. It and its children have read no file before."""
        self._channel, theirs = Channel.pair()
        try:
            self.pid = _spawn(theirs.fileno(), environ)
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()

    def boot(
        self,
        config: Config,
        preload: Preload,
        channels: tuple[Channel, Channel, Channel, Channel],
        listeners: list[Listener],
        *,
        files: tuple[ListenerInfo, ...] = (),
        tables: tuple[int, ...] = (),
        metrics_dir: str = "",
        operation: str = "",
    ) -> None:
        """Send it its configuration and descriptors. `channels`: handoff send and receive end, adopt send and receive
        end. `files`: other socket files to remove when the supervisor dies. `tables`: the file of the leadership, the
        census if there is one. `metrics_dir`: a directory to remove then (`hsrv.system.metricsdir`). `operation`: the
        one that starts it."""
        self.config = config
        message = Boot(
            config=without_secrets(config),
            generation=self.generation,
            preload=preload,
            listeners=tuple(listener.info for listener in listeners),
            files=files,
            metrics_dir=metrics_dir,
            log_context=log_context(operation),
        )
        fds = [channel.fileno() for channel in channels] + [listener.sock.fileno() for listener in listeners]
        self._send(message, *fds, *tables)

    def renew(
        self, generation: int, config: Config, handoff: tuple[Channel, Channel], operation: str = ""
    ) -> None:
        """Processes that it forks from now on belong to this generation."""
        self.generation = generation
        self.config = config
        message = Renew(
            config=without_secrets(config), generation=generation, log_context=log_context(operation)
        )
        self._send(message, *(channel.fileno() for channel in handoff))

    def fork(
        self, child: ChildHandle, broken: Failure | None = None, operation: str = "", *, waits: bool = False
    ) -> None:
        """Ask for a child. The answer is a `Forked`, in the order of the requests. `waits`: see `Fork`."""
        message = Fork(
            identity=child.identity, log_context=log_context(operation), broken=broken, waits=waits
        )
        self._send(message, child.theirs.fileno(), child.dump, child.board)
        child.theirs.close()

    def own(self, files: tuple[ListenerInfo, ...]) -> None:
        """Only these socket files are to be removed when the supervisor dies."""
        self._send(Own(files=files))

    def quit(self) -> None:
        """Tell it to exit."""
        self._send(Quit())

    def _send(self, message: ToTemplate, *fds: int) -> None:
        try:
            self._channel.send(encode(message), *fds)
        except ChannelError as error:
            log.error("template not reached", generation=self.generation, error=str(error))

    async def run(self, on_message: OnMessage) -> None:
        """Read its messages until its channel ends."""
        while True:
            await anyio.wait_readable(self._channel)
            if not self.hear(on_message):
                return

    def hear(self, on_message: OnMessage) -> bool:
        """Read the messages that have arrived. False: the channel has ended."""
        while True:
            try:
                packet = self._channel.receive(expect=0)
            except ChannelClosed:
                return False
            if packet is None:
                return True
            with packet:
                try:
                    message = decode_from_template(packet.payload)
                except MessageError as error:
                    log.error("packet dropped", generation=self.generation, error=str(error))
                else:
                    on_message(self, message)

    def close(self) -> None:
        self._channel.close()


def _spawn(fd: int, more: Mapping[str, str]) -> int:
    """Start a fresh interpreter with an inherited descriptor, and that of the log if there is one. Returns its pid.

    Not subprocess.Popen: this process reaps all of its children itself, in one place, and Popen would compete
    for them. Every other descriptor is close-on-exec (PEP 446).
    """
    os.set_inheritable(fd, True)
    log_fd = line_writer().own
    if log_fd >= 0:
        os.set_inheritable(log_fd, True)
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    # -P: the current directory may hold modules named like those of the standard library
    safe = () if "-P" in flags else ("-P",)
    command = [sys.executable, *flags, *safe, "-m", "hsrv.child.templatemain", str(fd), str(log_fd)]
    secret = {one.variable for one in options() if one.opt.secret}
    environ = {name: value for name, value in os.environ.items() if name not in secret}
    try:
        # Signals are blocked until it has set its handlers: a terminal sends them to all processes.
        return os.posix_spawn(sys.executable, command, {**environ, **more}, setsigmask=blockedsignals.BLOCKED)
    finally:
        if log_fd >= 0:
            os.set_inheritable(log_fd, False)
