"""python -m tests.chaos --minutes N --seed S: storms of every profile in turn, each with the next seed."""

import argparse
import sys
import time

from tests.chaos.profiles import PROFILES
from tests.chaos.storm import Storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", choices=PROFILES, action="append")
    parser.add_argument("--seconds", type=float, default=30.0, help="of one storm")
    given = parser.parse_args()
    end = time.monotonic() + given.minutes * 60
    profiles = [PROFILES[name] for name in given.profile or PROFILES]
    failed = 0
    seed = given.seed
    while time.monotonic() < end:
        storm = Storm(profiles[(seed - given.seed) % len(profiles)], seed, given.seconds)
        violations = storm.run()
        verdict = f"{len(violations)} violations" if violations else "ok"
        say(f"seed {seed} {storm.profile.name}: {verdict}; {storm.summary()}")
        if violations:
            failed += 1
            say(storm.report(violations))
        seed += 1
    return 1 if failed else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
