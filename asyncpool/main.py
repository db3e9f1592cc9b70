"""The async-pool process."""

from hsrv.asyncpool.pool import AsyncPool
from hsrv.child.boot import ChildBoot
from hsrv.child.life import run_child


def main(boot: ChildBoot) -> int:
    """Run a pool to its end; the exit code."""
    return run_child(boot, AsyncPool)
