"""Which workers have lived long enough, or hold too much memory. Pure."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hsrv.terms import Identity

AGE_SPREAD = 0.1
"""Share of --worker-max-age that is added at random, so that workers don't all go at once."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a worker that serves holds."""

    identity: Identity
    pid: int
    age: float
    """Seconds."""
    memory: int
    """Bytes: its own share where that is known."""


def too_old(workers: Iterable[Holding], most: float) -> Iterator[tuple[Identity, str, str]]:
    """Those to be replaced: (which, reason, why). `most`: seconds; 0: none is."""
    for worker in workers:
        if most and worker.age > most * (1 + AGE_SPREAD * random.Random(worker.pid).random()):
            yield worker.identity, "age", f"{worker.age:.0f} s old (--worker-max-age)"


def too_large(workers: Iterable[Holding], most: int) -> Iterator[tuple[Identity, str, str]]:
    """`most`: bytes; 0: none is."""
    for worker in workers:
        if most and worker.memory > most:
            yield worker.identity, "memory", f"it holds {worker.memory} bytes (--worker-max-memory {most})"


def largest(workers: Iterable[Holding]) -> Holding | None:
    """Whom to replace when memory runs short."""
    return max(workers, key=lambda worker: worker.memory, default=None)
