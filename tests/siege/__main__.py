"""`make siege`: the full one, with numbers."""

import argparse
import json
import os
import sys

from tests.siege import flood
from tests.siege.siege import FULL, besiege, fortress, raise_limit, wrongs


def main() -> int:
    parser = argparse.ArgumentParser(prog="siege", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long quiet, and how long besieged")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of besiegers")
    parser.add_argument("--patience", type=float, default=10.0, help="each timeout of the server")
    parser.add_argument("--flood", type=float, default=60.0, help="how long each of the floods; 0: none")
    parser.add_argument("--only-flood", choices=flood.FLOODS, action="append", help="this flood alone")
    options = parser.parse_args()
    raise_limit()
    failed = False
    for name in options.only_flood or flood.FLOODS:
        failed |= bool(options.flood) and not withstood(name, options.flood, options.scale)
    if not options.only_flood:
        failed |= not besieged(options)
    return int(failed)


def withstood(name: str, seconds: float, scale: float) -> bool:
    """Beside a flood the innocent are served."""
    counts = {kind: max(1, round(count * scale)) for kind, count in flood.FLOODS[name].items()}
    say(f"{name}: {seconds:.0f} s, load average {os.getloadavg()[0]:.1f}")
    with fortress() as server:
        found = flood.flood(server, counts, seconds=seconds, quiet=min(10.0, seconds), warm=2.0)
    wrong = [*found.failures, *flood.unended(found)]
    for text, holds in flood.numbers(found, computing=name == flood.COMPUTING):
        say(text)
        wrong += [] if holds else [text]
    say(
        f"flooders: {json.dumps(counts)}; ended: {json.dumps(found.ends)}; counted: {json.dumps(found.counted)}"
    )
    for text in wrong[:20]:
        say(f"WRONG: {text}")
    return not wrong


def besieged(options: argparse.Namespace) -> bool:
    counts = {kind: max(1, round(count * options.scale)) for kind, count in FULL.items()}
    names = ("header_timeout", "body_timeout", "send_timeout", "keep_alive")
    with fortress(**dict.fromkeys(names, options.patience)) as server:
        outcome = besiege(server, counts, seconds=options.seconds)
    found = list(wrongs(outcome))
    for name, latencies in (("quiet", outcome.quiet), ("besieged", outcome.besieged)):
        p50, p99, most = (outcome.p(share, latencies) * 1000 for share in (0.5, 0.99, 1.0))
        say(f"{name:9} {len(latencies):6} requests  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  max {most:6.2f} ms")
    ratio = outcome.p(0.99, outcome.besieged) / outcome.p(0.99, outcome.quiet)
    say(f"p99 besieged / quiet: {ratio:.2f}")
    say(
        f"memory of workers and pool: {outcome.memory_before >> 20} MiB, at most {outcome.memory_most >> 20} MiB"
    )
    say(f"besiegers: {json.dumps(counts)}; cut: {json.dumps(outcome.ends)}")
    say(f"longest, s: {json.dumps(outcome.longest)}; counted: {json.dumps(outcome.counted)}")
    for wrong in found[:20]:
        say(f"WRONG: {wrong}")
    return not found


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
