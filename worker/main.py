"""The worker process."""

from hsrv.child.boot import ChildBoot
from hsrv.child.life import run_child
from hsrv.worker.worker import Worker


def main(boot: ChildBoot) -> int:
    """Run a worker to its end; the exit code."""
    return run_child(boot, Worker)
