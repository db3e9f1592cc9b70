"""The async-pool process."""

from hsrv.asyncpool.pool import AsyncPool
from hsrv.asyncpool.websocket.codecs.codec import choose_codec
from hsrv.child.boot import ChildBoot
from hsrv.child.life import run_child
from hsrv.http.wire.parser import choose_parser
from hsrv.options.config import Config


def prepare(config: Config) -> None:
    """Import what these options choose, in the template: in a pool it might find no descriptor, other files than those
    of the start, or keep every stream waiting."""
    choose_parser(config.http)
    choose_codec(config.ws)


def main(boot: ChildBoot) -> int:
    """Run a pool to its end; the exit code."""
    return run_child(boot, AsyncPool)
