"""The server under the storm."""

import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Final, Self

import psutil

from hsrv.testing import LiveServer
from tests.chaos.profiles import Profile
from tests.integration.conftest import ROOT, descriptors
from tests.integration.wire import Wire, eventually

OPTIONS: Final = {
    "stream_grace": 1.0,
    "header_timeout": 8.0,
    "park_after": 0.2,
    "lifespan_shutdown_timeout": 3.0,
}
"""Streams end soon at a drain; everything else has more time than any client of ours takes."""


class StormServer(LiveServer):
    """With few descriptors, or a log that nobody can write to."""

    def __init__(self, profile: Profile, folder: Path) -> None:
        self.profile = profile
        self.record = folder / "record"
        self.unix = folder / "app.sock"
        options: dict[str, Any] = {**OPTIONS, **profile.options}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = int(free.getsockname()[1])
        super().__init__(
            "tests.chaos.app:app",
            env={"CHAOS_RECORD": str(self.record)},
            cwd=ROOT,
            python=_python(profile, folder),
            workers=profile.workers,
            bind=[f"127.0.0.1:{self._port}", f"unix:{self.unix}"],
            **options,
        )

    def __enter__(self) -> Self:
        if not self.profile.full_disk:
            return super().__enter__()
        self.run_dir = self._own_run_dir = tempfile.mkdtemp(prefix="hsrv-test-")
        self._env["HSRV_RUN_DIR"] = self.run_dir
        with Path("/dev/full").open("wb") as full:
            self.process = subprocess.Popen(
                self._command, env=self._env, cwd=self._cwd, stderr=full, stdin=subprocess.DEVNULL
            )
        self._reader = threading.Thread(target=lambda: None)
        self._reader.start()
        self.urls = [f"http://127.0.0.1:{self._port}"]
        eventually(self._serves, "it serves")
        return self

    def _serves(self) -> bool:
        try:
            with Wire(self.host, self.port) as wire:
                return wire.get("/warm/up/0").status == 200
        except OSError:
            return False

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`hsrv` with these arguments, for this server. Raises subprocess.TimeoutExpired."""
        return subprocess.run(
            [sys.executable, "-m", "hsrv", *arguments, "--run-dir", self.run_dir],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def shapes(self) -> dict[str, list[Counter[str]]]:
        """What each process holds open, by kind, by role."""
        found = {"supervisor": [shape(self.pid)]}
        for child in self.children():
            found.setdefault(str(child.role), []).append(shape(child.pid))
        return found

    def memory(self) -> dict[str, int]:
        """The largest RSS in bytes, by role."""
        found = {"supervisor": int(psutil.Process(self.pid).memory_info().rss)}
        for child in self.children():
            rss = int(child.process.memory_info().rss)
            found[str(child.role)] = max(rss, found.get(str(child.role), 0))
        return found


def shape(pid: int) -> Counter[str]:
    return Counter(name.split(":")[0] for name in descriptors(pid))


def _python(profile: Profile, folder: Path) -> str:
    """A Python with the profile's limit."""
    if profile.descriptors is None:
        return sys.executable
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nulimit -n {profile.descriptors}\nexec {shlex.quote(sys.executable)} "$@"\n')
    path.chmod(0o700)
    return str(path)
