"""Starts processes, in each way that a handler may; answers with their pids."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

kept: list[Any] = []
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"


def leave() -> None:
    os.setsid()
    time.sleep(600)


def start(how: str) -> None:
    kind, _, method = how.partition("-")
    if kind == "process":
        context: Any = multiprocessing.get_context(method)
        kept.append(context.Process(target=time.sleep, args=(600,)))
        kept[-1].start()
    elif kind == "pool":
        kept.append(ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)))
        kept[-1].submit(os.getpid).result(30)
    elif kind == "manager":
        kept.append(multiprocessing.get_context("spawn").Manager())
    elif kind == "subprocess":
        kept.append(subprocess.Popen(SLEEP, env={}))
    elif kind == "outlives":
        kept.append(subprocess.Popen(SLEEP, start_new_session=True))
    elif kind == "leaves":
        kept.append(multiprocessing.get_context("fork").Process(target=leave))
        kept[-1].terminate = lambda: None  # what we do to those that it still has at its exit
        kept[-1].start()
    elif kind == "stubborn":
        kept.append(subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE))
        kept[-1].stdout.readline()
    elif kind == "background":
        text = subprocess.check_output(["sh", "-c", "sleep 600 >/dev/null & echo $!"], text=True)
        kept.append(int(text))


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    start(scope["path"][1:])
    pids = descendants(os.getpid()) + [one for one in kept if isinstance(one, int)]
    body = json.dumps({"me": os.getpid(), "started": pids}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
