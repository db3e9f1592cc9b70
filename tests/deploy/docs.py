"""The documentation's commands: found, and run as they are written.

Every sh, bash and console block is run, in the order of its page, in one directory per page, unless the line before it
is `<!-- not run: REASON -->`. `<!-- file: NAME -->` before any block makes that file; `<!-- server -->` before a block
starts it in the background, until the page's next server. A console block has a `$ ` before each command; what stands
below a command must be in its output, line for line, each as the beginning of one. Pages run in a network of their own,
so that their ports are free, and with a run directory of their own.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.conftest import DEADLINE, ROOT
from tests.integration.wire import eventually

PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    ]
)
SHELL = ("sh", "bash", "console", "shell")

FENCE = re.compile(r"^(?:<!-- (?P<mark>.+?) -->\n)?^```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S)

LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as sock:  # what `ip link set lo up` does
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    mark: str
    line: int

    @property
    def is_shell(self) -> bool:
        return self.kind in SHELL

    @property
    def is_run(self) -> bool:
        return self.is_shell and not self.mark.startswith("not run")

    def commands(self) -> list[tuple[str, list[str]]]:
        """Each with the lines that it is to print."""
        if self.kind != "console":
            return [(self.text, [])]
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.strip():
                found[-1][1].append(line)
        return found


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(found["kind"], found["text"], found["mark"] or "", text.count("\n", 0, found.start()) + 1)
        for found in FENCE.finditer(text)
    ]


class Page:
    """Runs a page's blocks in `folder`."""

    def __init__(self, page: Path, folder: Path) -> None:
        self._blocks = blocks(page)
        self._folder = folder
        (folder / "run").mkdir(mode=0o700)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {name: value for name, value in os.environ.items() if not name.startswith("HSRV_")}
        # A directory of its own: root's commands would also find servers of other tests.
        self._env = {**env, "PATH": path, "HSRV_RUN_DIR": str(folder / "run"), "TERM": "dumb"}
        self._server: subprocess.Popen[bytes] | None = None
        self._network: list[str] = []

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """A process keeps it for the commands of the page."""
        holder = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", LOOPBACK, "sleep", "infinity"],
            stdin=subprocess.DEVNULL,
        )
        try:
            eventually(lambda: psutil.Process(holder.pid).name() == "sleep", "the network is there")
            self._network = ["nsenter", "-t", str(holder.pid), "--net"]
            yield
        finally:
            self._stop()
            holder.kill()
            holder.wait()

    def run(self) -> None:
        """Raises AssertionError with the page's line."""
        for block in self._blocks:
            if block.mark.startswith("file: "):
                (self._folder / block.mark.removeprefix("file: ")).write_text(block.text)
            elif block.is_run and block.mark == "server":
                self._stop()
                self._start(block)
            elif block.is_run:
                for command, expected in block.commands():
                    self._run(command, expected, block.line)

    def _run(self, command: str, expected: list[str], line: int) -> None:
        done = subprocess.run(
            [*self._network, "bash", "-ec", command],
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"line {line}: {command}\n{done.stdout}{done.stderr}{self._log()}"
        printed = iter(done.stdout.splitlines())
        for wanted in expected:
            assert any(found.startswith(wanted) for found in printed), (
                f"line {line}: {command}\nshould print {wanted!r}, printed:\n{done.stdout}{done.stderr}"
            )

    def _start(self, block: Block) -> None:
        with (self._folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                [*self._network, "bash", "-ec", f"exec {block.text}"],
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        server = self._server

        def serves() -> bool:
            assert server.poll() is None, f"line {block.line}: {block.text}\n{self._log()}"
            return '"event":"listening"' in self._log() or '"event": "listening"' in self._log()

        eventually(serves, f"line {block.line}: {block.text} serves")

    def _stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(DEADLINE)
        self._server = None

    def _log(self) -> str:
        path = self._folder / "server.log"
        return path.read_text() if path.exists() else ""
