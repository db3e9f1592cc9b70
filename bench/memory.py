"""What it takes to have 8 FastAPI workers running: CPU to start them, memory once each has answered something."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench.meter import Result
from bench.process import Failure, Tree, get

WARM_REQUESTS: Final = 1000
AT_ONCE: Final = 32
"""On new connections and many at a time, so that every worker gets some."""


def start(tree: Tree, seconds: float) -> Result:
    tree.settle()
    result: Result = {"cpu_s": tree.cpu()}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda _: get(tree.port, "/items/7")[0], range(WARM_REQUESTS)))
    if set(answers) != {200}:
        raise Failure("a worker didn't answer 200")
    tree.settle()
    result["mib"] = tree.pss() / 2**20
    result["processes"] = len(tree.processes())
    return result
