"""The real server for tests: a subprocess on a free port.

with LiveServer("main:app", workers=2) as server:
    httpx.get(server.url)
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import psutil

START_TIMEOUT: Final = 60.0
"""Seconds until the server must serve."""

STOP_TIMEOUT: Final = 30.0
"""Seconds for a stop; then it is killed and the test fails."""

LOG_TIMEOUT: Final = 20.0
"""Seconds that `wait_for_log` waits."""

Entry = dict[str, Any]


class LiveServer:
    """`hsrv start` in a subprocess. Options are those of `hsrv.Config`, lists for repeatable ones."""

    def __init__(
        self,
        app: str,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        python: str = sys.executable,
        **options: Any,
    ) -> None:
        self._command = [python, "-m", "hsrv", "start", app, "--log-format", "json"]
        for name, value in {"bind": ["127.0.0.1:0"], **options}.items():
            self._command += _arguments(name, value)
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._news = threading.Condition()
        self._output: list[str] = []
        self.logs: list[Entry] = []
        """Every line of the log so far; lines that are no JSON are under "text"."""
        self.urls: list[str] = []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, env=self._env, cwd=self._cwd, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.urls = self.wait_for_log(lambda entry: entry["event"] == "listening", START_TIMEOUT)["urls"]
        except BaseException:
            self.stop()
            raise
        self._family = {psutil.Process(self.pid)} | self.seen_processes()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Of the first TCP address."""
        return next(url for url in self.urls if url.startswith("http"))

    @property
    def ws_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def seen_processes(self) -> set[psutil.Process]:
        """The supervisor's descendants, as far as they are known now."""
        try:
            return set(psutil.Process(self.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return set()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            text = line.decode("utf-8", "replace").rstrip("\n")
            try:
                entry = json.loads(text)
            except ValueError:
                entry = None
            with self._news:
                self._output.append(text)
                self.logs.append(
                    entry if isinstance(entry, dict) and "event" in entry else {"event": "", "text": text}
                )
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for_log(self, wanted: Callable[[Entry], object], timeout: float = LOG_TIMEOUT) -> Entry:
        """The first log entry, also an earlier one, for which `wanted` is true. Raises TimeoutError, or RuntimeError when
        the server ended without it; both with the log so far."""
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
        """Everything the server wrote to standard error."""
        return "\n".join(self._output)

    @property
    def _last_words(self) -> str:
        """The end of the output, without the access log: for messages."""
        return "\n".join([line for line in self._output if '"event":"request"' not in line][-30:])

    def stop(self) -> int:
        """Stop as an operator would (TERM); the exit code. Raises RuntimeError when it had to be killed."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                for process in self.seen_processes() | {psutil.Process(self.pid)}:
                    process.kill()
                self.process.wait()
                raise RuntimeError(
                    f"the server did not stop within {STOP_TIMEOUT:g} s:\n{self._last_words}"
                ) from None
        self._reader.join(STOP_TIMEOUT)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return self.process.returncode


def _arguments(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list | tuple):
        return [part for item in value for part in (flag, str(item))]
    return [flag, str(value)]
