"""What a measurement cost: CPU of the server's tree and of the client, and counted instructions."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench import perf
from bench.process import Tree

Result = dict[str, float]


@contextmanager
def metered(tree: Tree) -> Iterator[Result]:
    """Yields a result in which, afterwards, stand seconds, cpu (seconds), client and perhaps instructions."""
    result: Result = {}
    with perf.counting([process.pid for process in tree.processes()], result):
        cpu, client, began = tree.cpu(), time.process_time(), time.monotonic()
        yield result
        result["seconds"] = time.monotonic() - began
        result["client"] = (time.process_time() - client) / result["seconds"]
        result["cpu"] = tree.cpu() - cpu


def per_unit(result: Result, units: float) -> None:
    """CPU and instructions for each request, message or event."""
    result["cpu_us"] = result["cpu"] / units * 1e6
    if "instructions" in result:
        result["instr"] = result["instructions"] / units
