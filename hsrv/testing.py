"""A real server for tests: a subprocess on a free port.

    with LiveServer("main:app", workers=2) as server:
        httpx.get(server.url)

Promises: inside the block the server serves; after it none of its processes runs. Every wait has a timeout, and a
failure shows the server's output. The pytest fixture is `hsrv_server`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import psutil

from hsrv.app.apptarget import import_string
from hsrv.common.asgi import AnyApplication
from hsrv.common.terms import Role

START_TIMEOUT: Final = 60.0
"""Seconds until the server must serve."""

STOP_TIMEOUT: Final = 45.0
"""Seconds for a stop, and for processes that outlive the supervisor; then they are killed and the test fails. Longer
than the default budgets of a drain."""

LOG_TIMEOUT: Final = 20.0
"""Seconds that `wait_for_log` waits."""

POLL_INTERVAL: Final = 0.05
"""Seconds between two checks of processes that are not children of this one."""

Entry = dict[str, Any]

_title: Final = re.compile(r"hsrv: (?P<role>[a-z]+)(?:-(?P<slot>\d+))? g(?P<generation>\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A process of the server, identified by its title."""

    process: psutil.Process
    role: Role
    slot: int
    """0 for a template."""
    generation: int

    @property
    def pid(self) -> int:
        return int(self.process.pid)


class LiveServer:
    """`hsrv start` in a subprocess.

    `app` is an import string, or an object at the top level of a module that the server can import. `options` are those
    of `hsrv.Config`: True and False for flags, lists for repeatable ones, None for the default. `env` is added to the
    environment.
    """

    def __init__(
        self,
        app: str | AnyApplication,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        python: str = sys.executable,
        **options: Any,
    ) -> None:
        self._command = [python, "-m", "hsrv", "start", import_string(app), "--log-format", "json"]
        self.run_dir = str(options.get("run_dir") or "")
        """Directory of its operator socket, for `hsrv status --run-dir`: a temporary directory unless one is given."""
        self._own_run_dir = ""
        for name, value in {"bind": ["127.0.0.1:0"], **options}.items():
            self._command += _arguments(name, value)
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._news = threading.Condition()
        self._output: list[str] = []
        self._family: set[psutil.Process] = set()
        self.logs: list[Entry] = []
        """Every line of the log so far; lines that are not JSON are under "text"."""
        self.urls: list[str] = []
        self.admin_urls: list[str] = []
        """Of `--admin`."""

    def __enter__(self) -> Self:
        """Start, and wait until it serves. Raises RuntimeError or TimeoutError with the server's output."""
        if not self.run_dir:
            self.run_dir = self._own_run_dir = tempfile.mkdtemp(prefix="hsrv-test-")
        self._env["HSRV_RUN_DIR"] = self.run_dir
        self.process = subprocess.Popen(
            self._command, env=self._env, cwd=self._cwd, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        self._reader = threading.Thread(target=self._read, daemon=True, name="server log")
        self._reader.start()
        try:
            listening = self.wait_for_log(lambda entry: entry["event"] == "listening", START_TIMEOUT)
            self.urls, self.admin_urls = listening["urls"], listening.get("admin", [])
        except BaseException:
            self.stop()
            raise
        self.seen_processes()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    # where

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Of the first TCP address, without a slash at the end."""
        return next(url for url in self.urls if url.startswith("http"))

    @property
    def ws_url(self) -> str:
        """The same for WebSockets."""
        return "ws" + self.url.removeprefix("http")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    # processes

    def seen_processes(self) -> set[psutil.Process]:
        """The supervisor's living descendants."""
        try:
            found = set(psutil.Process(self.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return set()
        self._family |= found
        return found

    def children(self, role: Role | str | None = None) -> list[Child]:
        """The living templates, workers and pools, or those of one role, by generation and slot."""
        found = [child for process in self.seen_processes() if (child := _child(process)) is not None]
        wanted = [child for child in found if role is None or child.role == role]
        return sorted(wanted, key=lambda child: (child.generation, child.role, child.slot))

    # log

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            text = line.decode("utf-8", "replace").rstrip("\n")
            with self._news:
                self._output.append(text)
                self.logs.append(_entry(text))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for_log(self, wanted: Callable[[Entry], object], timeout: float = LOG_TIMEOUT) -> Entry:
        """The first log entry, past or future, for which `wanted` is true.

        Raises TimeoutError, or RuntimeError when the server ended without one; both with the log so far.
        """
        end = time.monotonic() + timeout
        position = 0
        with self._news:
            while True:
                for entry in self.logs[position:]:
                    if wanted(entry):
                        return entry
                position = len(self.logs)
                if self.process.poll() is not None and not self._reader.is_alive():
                    raise RuntimeError(
                        f"the server ended with {self.process.returncode}:\n{self._last_words}"
                    )
                if not self._news.wait(min(0.2, max(0.0, end - time.monotonic()))) and time.monotonic() > end:
                    raise TimeoutError(f"not in the log within {timeout:g} s:\n{self._last_words}")

    @property
    def output(self) -> str:
        """Everything that the server wrote to standard error."""
        return "\n".join(self._output)

    @property
    def _last_words(self) -> str:
        """The end of the output, without the access log: for error messages."""
        return "\n".join([line for line in self._output if '"event":"request"' not in line][-30:])

    # end

    def stop(self) -> int:
        """Stop as an operator would (TERM). Returns the exit code. Can be called again.

        Raises RuntimeError when a process had to be killed: the supervisor, or one that it left behind.
        """
        self.seen_processes()
        killed: list[str] = []
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                killed.append("the supervisor")
                self.seen_processes()
                self.process.kill()
                self.process.wait()
        killed += self._kill_leftovers()
        if self._own_run_dir:
            shutil.rmtree(self._own_run_dir, ignore_errors=True)
        self._reader.join(STOP_TIMEOUT)
        if self.process.stderr is not None and not self._reader.is_alive():
            self.process.stderr.close()
        if killed:
            raise RuntimeError(
                f"did not end within {STOP_TIMEOUT:g} s: {', '.join(killed)}\n{self._last_words}"
            )
        return self.process.returncode

    def _kill_leftovers(self) -> list[str]:
        """Wait for processes that outlive the supervisor, then kill them. Returns which were killed."""
        end = time.monotonic() + STOP_TIMEOUT
        while (left := [process for process in self._family if _runs(process)]) and time.monotonic() < end:
            time.sleep(POLL_INTERVAL)
        for process in left:
            process.kill()
        return [str(process) for process in left]


def _child(process: psutil.Process) -> Child | None:
    try:
        title = _title.match(" ".join(process.cmdline()))
    except psutil.Error:
        return None
    if title is None:  # forked, and not named yet
        return None
    return Child(
        process=process,
        role=Role(title["role"]),
        slot=int(title["slot"] or 0),
        generation=int(title["generation"]),
    )


def _runs(process: psutil.Process) -> bool:
    """Whether it runs. A zombie doesn't: it only waits to be reaped."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _entry(text: str) -> Entry:
    try:
        entry = json.loads(text)
    except ValueError:
        entry = None
    return entry if isinstance(entry, dict) and "event" in entry else {"event": "", "text": text}


def _arguments(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list | tuple):
        return [part for item in value for part in (flag, str(item))]
    return [flag, str(value)]
