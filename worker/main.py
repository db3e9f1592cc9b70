"""The worker process."""

from hsrv.child.boot import ChildBoot
from hsrv.child.life import run_child
from hsrv.http.wire.parser import choose_parser
from hsrv.options.config import Config
from hsrv.worker.worker import Worker


def prepare(config: Config) -> None:
    """Import what these options choose, in the template: once for all workers."""
    choose_parser(config.http)


def main(boot: ChildBoot) -> int:
    """Run a worker to its end; the exit code."""
    return run_child(boot, Worker)
