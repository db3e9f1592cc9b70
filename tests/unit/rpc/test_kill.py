"""kill -9 of either side with requests and cancels in flight."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import LONG

ROOT = Path(__file__).parent.parent.parent.parent
ROUNDS = 500 if LONG else 40


def test_a_kill_of_either_side_at_any_moment_hangs_and_leaks_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.unit.rpc.killed_pairs", str(ROUNDS), "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
