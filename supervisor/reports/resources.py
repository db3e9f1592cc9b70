"""Resources of a process: memory, CPU time, descriptors. Pure."""

from typing import NamedTuple


class Usage(NamedTuple):
    """The resources of one process."""

    rss: int
    """Resident bytes, shared pages counted whole."""
    pss: int | None
    """Proportional bytes, shared pages divided among their users; None if the system doesn't report it."""
    cpu_seconds: float
    cpu_percent: float
    """Of one core, since the last measurement; 0.0 at the first."""
    descriptors: int | None

    def plus(self, other: "Usage") -> "Usage":
        return Usage(
            self.rss + other.rss,
            _sum(self.pss, other.pss),
            self.cpu_seconds + other.cpu_seconds,
            self.cpu_percent + other.cpu_percent,
            _sum(self.descriptors, other.descriptors),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
