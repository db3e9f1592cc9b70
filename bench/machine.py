"""What the figures were measured with."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from bench import perf, servers
from bench.process import can_pin

LIBRARIES = ("uvloop", "httptools", "gunicorn_h1c", "websockets", "fastapi", "starlette", "pydantic")


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip()


def library(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    found = output("git", "rev-parse", "--short", "HEAD")
    return found + (" with changes" if found and output("git", "status", "--porcelain") else "")


def describe() -> dict[str, str]:
    return {
        "CPU": f"{cpu_model()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "commit of hsrv": commit(),
        "wrk": output("wrk", "-v").partition("\n")[0].partition(" Copyright")[0].removeprefix("wrk ")
        or "not installed",
        "pinned": "server on core 0, client on core 1"
        if can_pin()
        else "no: fewer than two cores or no affinity",
        "instructions": "counted by perf" if perf.available() else "no hardware counters here",
        "load before the run": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def versions() -> dict[str, str]:
    found = {s.name: servers.version(s) for s in servers.SERVERS if not servers.missing(s)}
    return {**found, **{name: library(name) for name in LIBRARIES}}
