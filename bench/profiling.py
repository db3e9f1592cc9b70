"""Where does a worker's time go? py-spy on one hsrv worker while wrk asks for hello."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import psutil

from bench import servers, wrk
from bench.process import Tree, client_pinned, running

OUTPUT: Final = Path(".bench") / "profile.svg"
WORKER_TITLE: Final = "hsrv: worker-"


def worker_of(tree: Tree) -> psutil.Process:
    """By its title."""
    return next(p for p in tree.processes() if p.cmdline() and p.cmdline()[0].startswith(WORKER_TITLE))


def profile(seconds: float) -> int:
    """The exit code of py-spy, which says itself what it lacks (a right to trace, mostly)."""
    py_spy = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    reason = wrk.missing() or (
        None if py_spy else "py-spy is not installed in .bench/venv (make bench does it)"
    )
    if reason or py_spy is None:
        print(reason, file=sys.stderr)
        return 1
    OUTPUT.parent.mkdir(exist_ok=True)
    with running(servers.BY_NAME["hsrv"], "raw:app") as tree, client_pinned(True):
        load = threading.Thread(target=wrk.run, args=(wrk.Load(), tree.port, seconds + 2))
        load.start()
        command = [
            py_spy,
            "record",
            "--pid",
            str(worker_of(tree).pid),
            "--duration",
            str(max(1, round(seconds))),
        ]
        done = subprocess.run([*command, "--rate", "500", "--output", str(OUTPUT)], check=False)
        load.join()
    return done.returncode
