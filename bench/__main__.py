"""python -m bench [SCENARIO ...] [--servers A,B] [--rounds N] [--seconds S] [--out FOLDER]; also `profile`, `render`."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

from bench import machine, perf, report, scenarios, servers, wrk
from bench.profiling import profile
from bench.run import measure


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="hsrv and other servers, side by side.")
    known = [*scenarios.BY_NAME, "profile", "render"]
    parser.add_argument("what", nargs="*", metavar="scenario", help=f"default: all. {', '.join(known)}")
    parser.add_argument("--servers", default=",".join(servers.BY_NAME), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each server (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load for each sample (default: 2)")
    parser.add_argument(
        "--out", type=Path, help="folder for the files; default: docs/benchmarks for a full run, else none"
    )
    options = parser.parse_args(arguments)
    for name in options.what:
        if name not in known:
            parser.error(f"no scenario {name!r}; there are {', '.join(known)}")
    for name in options.servers.split(","):
        if name not in servers.BY_NAME:
            parser.error(f"no server {name!r}; there are {', '.join(servers.BY_NAME)}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    return options


def warn() -> None:
    chosen = [wrk.missing(), *(servers.missing(server) for server in servers.SERVERS)]
    for reason in dict.fromkeys(filter(None, chosen)):
        print(f"missing: {reason}", file=sys.stderr)
    if not perf.available():
        print("missing: hardware counters for perf; no instructions are counted", file=sys.stderr)


def run(options: argparse.Namespace) -> None:
    began = time.monotonic()
    chosen = [servers.BY_NAME[name] for name in options.servers.split(",")]
    complete = not options.what and len(chosen) == len(servers.SERVERS)
    folder = options.out or (report.FOLDER if complete else None)
    document: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": machine.versions(),
        "run": {"rounds": options.rounds, "seconds": options.seconds, "date": time.strftime("%Y-%m-%d")},
        "scenarios": {},
    }
    for scenario in scenarios.SCENARIOS:
        if options.what and scenario.name not in options.what:
            continue
        started = time.monotonic()
        rows = measure(scenario, chosen, options.rounds, options.seconds)
        document["scenarios"][scenario.name] = rows
        document["run"]["minutes"] = round((time.monotonic() - began) / 60, 1)
        print(
            report.section(scenario, document["scenarios"]) + f"\n({time.monotonic() - started:.0f} s)\n",
            flush=True,
        )
        if folder:
            report.write(document, folder)
    print(f"total: {(time.monotonic() - began) / 60:.1f} minutes")


def stop(number: int, frame: FrameType | None) -> None:
    """So that the servers are stopped on TERM too."""
    sys.exit(128 + number)


def main() -> int:
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, stop)
    uvloop.install()
    warn()
    if "profile" in options.what:
        return profile(options.seconds)
    if "render" in options.what:
        report.render(options.out or report.FOLDER)
        return 0
    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
