"""Where a request runs. Pure."""

from collections.abc import Iterable
from enum import Enum, auto

from hsrv.common.globs import Globs, LearnedPaths, PassingPaths
from hsrv.common.request import RequestHead


class Placement(Enum):
    HERE = auto()
    """In this worker."""
    POOL = auto()
    """In the async pool."""


class StreamPolicy:
    """The operator's `--stream` and `--no-stream`."""

    def __init__(self, stream: Iterable[str], no_stream: Iterable[str]) -> None:
        self.stream = Globs(stream)
        self.no_stream = Globs(no_stream)


def route(
    head: RequestHead, policy: StreamPolicy, learned: LearnedPaths, plain: PassingPaths, now: float
) -> Placement:
    """Where a request runs. The rules in order of precedence; the first that applies wins. `plain`: the paths of which
    is known that they are no streams, whatever a client claims; `now`: time.monotonic()."""
    if head.websocket:
        return Placement.POOL
    if policy.no_stream.patterns and policy.no_stream.match(head.path):
        return Placement.HERE
    if (policy.stream.patterns and policy.stream.match(head.path)) or learned.match(head.path):
        return Placement.POOL
    return Placement.POOL if head.event_stream and not plain.match(head.path, now) else Placement.HERE
