"""Instructions per request, where the machine lets us count: `perf stat` on the server's processes."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final

EVENT: Final = "instructions:u"
ATTACH: Final = 0.3
"""Seconds for perf to attach. It doesn't say when it has; an idle server adds next to nothing to the count."""


def parse(output: str, event: str = EVENT) -> float | None:
    """The count in `perf stat -x,`; None where it says <not supported> or <not counted>."""
    for line in output.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2] == event:
            try:
                return float(fields[0])
            except ValueError:
                return None
    return None


@cache
def available() -> bool:
    if not shutil.which("perf"):
        return False
    done = subprocess.run(
        ["perf", "stat", "-x,", "-e", EVENT, "true"], capture_output=True, text=True, check=False
    )
    return bool(parse(done.stderr))


@contextmanager
def counting(pids: Sequence[int], result: dict[str, float], event: str = EVENT) -> Iterator[None]:
    """Puts "instructions" into `result` if there is anything to count with."""
    if not available():
        yield
        return
    command = ["perf", "stat", "-x,", "-e", event, "-p", ",".join(map(str, pids))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(ATTACH)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=10)
    count = parse(output, event)
    if count is not None:
        result["instructions"] = count
