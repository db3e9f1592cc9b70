"""A real terminal (tmux) that commands run in, and that can be read and resized."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

PROMPT = "ready> "


class Terminal:
    """One window with a shell in it."""

    def __init__(self, tmux: str, socket: Path) -> None:
        self._command = [tmux, "-S", str(socket), "-f", "/dev/null"]

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], stdout=subprocess.PIPE, text=True, timeout=20, check=True
        )
        return done.stdout

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-t", "window", "-l", text)

    def enter(self, line: str) -> None:
        self.type(line)
        self.tmux("send-keys", "-t", "window", "Enter")

    def run(self, arguments: Sequence[str]) -> None:
        """Start hsrv, which says its exit code when it has ended."""
        command = shlex.join([sys.executable, "-m", "hsrv", *arguments])
        self.enter(f"clear; {command}; echo exit=$?")

    def resize(self, width: int, height: int) -> None:
        self.tmux("resize-window", "-t", "window", "-x", str(width), "-y", str(height))

    @property
    def lines(self) -> list[str]:
        """What a person sees, without the blanks at the ends of lines."""
        return [line.rstrip() for line in self.tmux("capture-pane", "-p", "-t", "window").split("\n")[:-1]]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def screen(self) -> tuple[str, bool]:
        """Which of the terminal's two screens is shown, and whether there is a cursor."""
        told = self.tmux("display-message", "-p", "-t", "window", "#{alternate_on} #{cursor_flag}").split()
        return "other" if told[0] == "1" else "usual", told[1] == "1"

    @property
    def foreground(self) -> int:
        """The pid of what runs there, or of the shell."""
        shell = int(self.tmux("display-message", "-p", "-t", "window", "#{pane_pid}"))
        children = psutil.Process(shell).children()
        return int(children[0].pid) if children else shell


@contextmanager
def terminal(folder: Path, cwd: Path, width: int, height: int) -> Iterator[Terminal]:
    """Skips where there is no tmux. Its socket lives in `folder`."""
    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("no tmux on this machine")
    window = Terminal(tmux, folder / "tmux")
    window.tmux(
        "new-session", "-d", "-s", "window", "-x", str(width), "-y", str(height), "-c", str(cwd),
        f"env PS1='{PROMPT}' sh",
    )  # fmt: skip
    try:
        yield window
    finally:
        window.tmux("kill-server")
