"""A server's process tree: start it, wait until it answers, measure it, stop it and whatever it left."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from bench import servers

SERVER_CPU, CLIENT_CPU = 0, 1
START_TIMEOUT: Final = 40.0
STOP_TIMEOUT: Final = 15.0
LOG_TIMEOUT: Final = 5.0
QUIET: Final = 0.6
"""Seconds in which a tree that has started uses next to no CPU."""


class Failure(Exception):
    """A server didn't do what was asked; the row says so."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def can_pin() -> bool:
    """Whether server and client get a core each."""
    return hasattr(os, "sched_getaffinity") and {SERVER_CPU, CLIENT_CPU} <= os.sched_getaffinity(0)


@contextmanager
def client_pinned(pinned: bool) -> Iterator[None]:
    """This process, and wrk which it starts, on the client's core."""
    if not (pinned and can_pin()):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CLIENT_CPU})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Tree:
    """A server that runs: the process we started and all its descendants."""

    def __init__(self, root: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.root, self.port, self.log = root, port, log

    def processes(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.root.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise Failure(f"the server ended: {self.tail()}") from None

    def cpu(self) -> float:
        """CPU seconds so far, of the living and of those they have waited for."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def pss(self) -> int:
        """Bytes; a page shared by n processes counts 1/n for each, so the sum is what the tree really takes."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total

    def settle(self) -> None:
        """Wait until starting is over: hardly any CPU used for a while."""
        end, before, since = time.monotonic() + START_TIMEOUT, self.cpu(), time.monotonic()
        while time.monotonic() < end:
            time.sleep(0.1)
            now = self.cpu()
            if now - before > 0.02:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > QUIET:
                return
        raise Failure("the server never became quiet")

    def wait_for_lines(self, offset: int, count: int) -> None:
        """The log holds so many lines after `offset`; a server may write them behind its answers."""
        end = time.monotonic() + LOG_TIMEOUT
        while self.log.read_bytes()[offset:].count(b"\n") < count:
            if time.monotonic() > end:
                raise Failure("the access log lacks requests")
            time.sleep(0.1)

    def tail(self) -> str:
        """The last line it said, without machine paths."""
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return lines[-1].replace(str(Path.cwd()), ".")[:160]


def get(port: int, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own, by the standard library's client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_until_up(tree: Tree) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        if tree.root.poll() is not None:
            raise Failure(f"the server ended at once: {tree.tail()}")
        try:
            if get(tree.port, "/")[0] == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise Failure(f"the server did not come up: {tree.tail()}")


@contextmanager
def running(
    server: servers.Server,
    app: str,
    workers: int = 1,
    log: str = servers.LOG_OFF,
    pinned: bool = True,
    *,
    grace: int = 0,
) -> Iterator[Tree]:
    """The server, answering; stopped afterwards, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="hsrv-bench-") as name:
        folder, port = Path(name), free_port()
        arguments = servers.command(
            server, app, workers=workers, port=port, log=log, folder=folder, grace=grace
        )
        if pinned and can_pin() and shutil.which("taskset"):
            arguments = ["taskset", "-c", str(SERVER_CPU), *arguments]
        output = folder / "output"
        with output.open("wb") as sink:
            root = subprocess.Popen(
                arguments,
                cwd=servers.APPS,
                env={**servers.environment(), "BENCH_FOLDER": name},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        tree = Tree(root, port, output)
        try:
            wait_until_up(tree)
            yield tree
        finally:
            stop(tree)


def stop(tree: Tree) -> None:
    """TERM to the root, a bounded wait, KILL to every process that we saw under it."""
    try:
        family = tree.processes()
    except Failure:
        family = []
    tree.root.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        tree.root.wait(STOP_TIMEOUT)
    kill(family)
    tree.root.wait(STOP_TIMEOUT)


def kill(family: Iterable[psutil.Process]) -> None:
    """psutil compares start times, so a pid that was used again is not hit."""
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
