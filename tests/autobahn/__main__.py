"""python -m tests.autobahn [--cases '12.*'] [--out docs/autobahn.md]: install the runner, run it, say what it found.

Exit codes: 0 all is well, 1 a case failed or ended uncleanly, 77 the runner can't be had here.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hsrv.testing import LiveServer

NOT_HERE: Final = 77
"""Nothing was found wrong, for nothing was run."""

RUNNER: Final = "autobahntestsuite==0.8.2"
"""The last release of the original suite: newer ones test nothing more."""

FOLDER: Final = Path(".autobahn")
TIMEOUT: Final = 3600.0
WELL: Final = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}
"""Behaviours that are none of a fault. What is not OK is shown all the same."""

AGENT: Final = "hsrv"

START: Final = (
    "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"
)
"""Not by PYTHONPATH: one of its packages spreads over several distributions, which takes a .pth file to be found."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="autobahn", description=__doc__)
    parser.add_argument("--cases", action="append", help="default: all")
    parser.add_argument("--out", type=Path, help="where to write the summary")
    given = parser.parse_args()
    python = python27()
    if python is None:
        say("no Python 2.7 here, which Autobahn's runner needs (set AUTOBAHN_PYTHON to one): nothing was run")
        return NOT_HERE
    site = install(python)
    if site is None:
        say(f"{RUNNER} could not be installed for {python}: nothing was run")
        return NOT_HERE
    results = run(python, site, given.cases or ["*"])
    text = summary(results)
    say(text)
    if given.out is not None:
        given.out.write_text(text)
    return 1 if any(True for _ in faults(results)) else 0


def python27() -> str | None:
    """One that runs, not only one that is in the path."""
    names = ("python2.7", "pypy2.7", "pypy", "python2")
    found = [os.environ.get("AUTOBAHN_PYTHON"), *map(shutil.which, names)]
    found += map(str, Path("~/.pyenv/versions").expanduser().glob("2.7*/bin/python"))
    return next((python for python in found if python and is_python27(python)), None)


def is_python27(python: str) -> bool:
    ask = "import sys, pip; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return False
    return done.stdout == "2.7"


def install(python: str) -> Path | None:
    site = FOLDER / "site"
    marker = FOLDER / "installed"
    if not marker.exists():
        shutil.rmtree(FOLDER, ignore_errors=True)
        command = [python, "-m", "pip", "install", "-qq", "--target", str(site), RUNNER]
        if subprocess.run(command, check=False).returncode:
            return None
        marker.touch()
    return site


def run(python: str, site: Path, cases: list[str]) -> dict[str, dict[str, str]]:
    """By case: behaviour, behaviorClose and the like, as the runner reports."""
    reports = (FOLDER / "reports").absolute()
    shutil.rmtree(reports, ignore_errors=True)
    options: dict[str, Any] = {"ws_max_message": 64 * 1024 * 1024, "access_log": False, "log_level": "info"}
    with LiveServer("tests.autobahn.app:app", workers=1, **options) as server:
        spec = FOLDER / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "outdir": str(reports),
                    "servers": [{"agent": AGENT, "url": server.ws_url}],
                    "cases": cases,
                    "exclude-cases": [],
                    "exclude-agent-cases": {},
                }
            )
        )
        command = [python, "-c", START, str(site), "-m", "fuzzingclient", "-s", str(spec)]
        with (FOLDER / "output").open("w") as output:
            subprocess.run(command, stdout=output, stderr=output, timeout=TIMEOUT, check=True)
    found: dict[str, dict[str, str]] = json.loads((reports / "index.json").read_text())[AGENT]
    return found


def faults(results: dict[str, dict[str, str]]) -> Iterator[str]:
    for case, found in results.items():
        verdicts = {found["behavior"], found["behaviorClose"]}
        if verdicts - WELL:
            yield f"{case}: {', '.join(sorted(verdicts))}"


def summary(results: dict[str, dict[str, str]]) -> str:
    families: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for case, found in results.items():
        families[int(case.split(".")[0])][found["behavior"]] += 1
    verdicts = sorted({verdict for family in families.values() for verdict in family})
    lines = [
        "# Autobahn",
        "",
        f"`make autobahn`: fuzzingclient of {RUNNER.replace('==', ' ')}, {len(results)} cases. A case",
        "fails when its behaviour or the way it closed is anything but OK, NON-STRICT or INFORMATIONAL.",
        "",
        f"| family | {' | '.join(verdicts)} |",
        f"|--:|{'--:|' * len(verdicts)}",
    ]
    for family, counts in sorted(families.items()):
        lines.append(f"| {family} | {' | '.join(str(counts[verdict]) for verdict in verdicts)} |")
    wrong = list(faults(results))
    lines += ["", f"Failed or unclean: {len(wrong)}." + "".join(f"\n- {line}" for line in wrong)]
    odd = [f"{case} {found['behavior']}" for case, found in results.items() if found["behavior"] != "OK"]
    lines += ["", f"Not OK, and no fault: {', '.join(sorted(odd)) or 'none'}.", ""]
    return "\n".join(lines)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
