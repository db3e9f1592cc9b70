"""What it takes to have 8 FastAPI workers running: CPU to start them, memory once each has answered something."""

from typing import Final

from bench.meter import Result
from bench.process import Failure, Tree, get

WARM_REQUESTS: Final = 400
"""On new connections, so that every worker gets some."""


def start(tree: Tree, seconds: float) -> Result:
    tree.settle()
    result: Result = {"cpu_s": tree.cpu()}
    for _ in range(WARM_REQUESTS):
        if get(tree.port, "/items/7")[0] != 200:
            raise Failure("a worker didn't answer 200")
    tree.settle()
    result["mib"] = tree.pss() / 2**20
    result["processes"] = len(tree.processes())
    return result
