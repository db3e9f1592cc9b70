"""The async-pool process."""

import asyncio

from hsrv.asyncpool.observed import ObservedPool
from hsrv.asyncpool.pool import AsyncPool
from hsrv.child.life import ChildBoot, Learn, run_child


def make(boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> AsyncPool:
    """One that tells collectors, where there are any."""
    kind = AsyncPool if boot.collectors is None else ObservedPool
    return kind(boot, loop, learn)


def main(boot: ChildBoot) -> int:
    """Run a pool to its end; the exit code."""
    return run_child(boot, make)
