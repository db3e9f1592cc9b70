"""python -m tests.fuzz --minutes N --seed S: each target for N minutes."""

import argparse
import sys
import time
import traceback

from tests.fuzz.table import TARGETS

ROUND = 2000
"""Inputs of one run of hypothesis, which remembers what it tried."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=TARGETS, action="append")
    given = parser.parse_args()
    failed = False
    for name in given.target or TARGETS:
        end = time.monotonic() + given.minutes * 60
        seed = given.seed
        fault = ""
        while not fault and (seed == given.seed or time.monotonic() < end):
            try:
                TARGETS[name].test(seed, ROUND)()
            except Exception:
                fault = traceback.format_exc()
            seed += 1
        failed |= bool(fault)
        say(f"{name}: seeds {given.seed} to {seed - 1}, {ROUND} inputs each: {fault or 'ok'}")
    return int(failed)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
