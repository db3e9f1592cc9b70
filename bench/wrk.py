"""HTTP load by wrk, one thread, as many connections as asked."""

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SCRIPT: Final = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Load:
    path: str = "/"
    connections: int = 64
    method: str = "GET"
    body: int = 0
    """Bytes to send, a multiple of 16."""
    keep_alive: bool = True

    def sent(self) -> bytes | None:
        return b"0123456789abcdef" * (self.body // 16) or None


def missing() -> str | None:
    return None if shutil.which("wrk") else "wrk is not installed (a package of the system)"


def command(load: Load, port: int, seconds: float) -> list[str]:
    """wrk takes whole seconds only."""
    options = [
        "-t1",
        f"-c{load.connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "10s",
        "-s",
        str(SCRIPT),
    ]
    if not load.keep_alive:
        options += ["-H", "Connection: close"]
    return ["wrk", *options, f"http://127.0.0.1:{port}{load.path}", "--", load.method, str(load.body)]


def run(load: Load, port: int, seconds: float) -> dict[str, float]:
    """wrk's own figures, and the share of the time in which wrk had the CPU: near 1, the client was the limit."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command(load, port, seconds), capture_output=True, text=True, check=True, timeout=seconds + 30
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result: dict[str, Any] = json.loads(done.stderr.strip().splitlines()[-1])
    busy = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {**result, "client": busy / result["seconds"]}
