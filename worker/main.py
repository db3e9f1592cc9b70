"""The worker process."""

import asyncio

from hsrv.child.life import ChildBoot, Learn, run_child
from hsrv.worker.observed import ObservedWorker
from hsrv.worker.worker import Worker


def make(boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> Worker:
    """One that tells collectors, where there are any."""
    kind = Worker if boot.collectors is None else ObservedWorker
    return kind(boot, loop, learn)


def main(boot: ChildBoot) -> int:
    """Run a worker to its end; the exit code."""
    return run_child(boot, make)
