"""What a status says of each process and of all, for everything that displays it: `hsrv status`, `hsrv top`, the
dashboard. Pure.

A value is computed here, and only formatted by a view.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hsrv.status.rates import ProcessRates, Rates, processes

if TYPE_CHECKING:  # only for types
    from hsrv.rpc.methods import ChildReport, PathStreams, Running
    from hsrv.rpc.operator import ProcessStatus, ServerStatus

_STARTING: Final = ("forking", "starting", "ready")
_ENDING: Final = ("draining", "dismissed", "killed")


@dataclass(frozen=True)
class ProcessView:
    """One process. None: unknown, because it has no scoreboard, or because there are no two answers to compare yet."""

    status: "ProcessStatus"
    rates: ProcessRates | None = None

    @property
    def is_starting(self) -> bool:
        """It doesn't serve yet."""
        return self.status.state in _STARTING

    @property
    def is_ending(self) -> bool:
        return self.status.state in _ENDING

    @property
    def memory(self) -> int | None:
        """Bytes; if the system reports it, with shared pages divided among their users."""
        return self.status.pss if self.status.pss is not None else self.status.rss

    @property
    def cpu(self) -> float | None:
        """Cores."""
        return self.rates.cpu if self.rates is not None else None

    @property
    def requests(self) -> float | None:
        """Per second."""
        return self.rates.requests if self.rates is not None else None

    @property
    def running(self) -> int | None:
        """Application calls: the waiting ones and the running one."""
        board = self.status.board
        return None if board is None else board.gauges.get("in_flight", 0) + (board.current is not None)

    @property
    def streams(self) -> int | None:
        """Streams and WebSockets."""
        board = self.status.board
        return None if board is None else board.gauges.get("streams", 0) + board.gauges.get("websockets", 0)

    def gauge(self, name: str) -> int | None:
        return None if self.status.board is None else self.status.board.gauges.get(name, 0)


def process_views(status: "ServerStatus", rates: Rates | None = None) -> list[ProcessView]:
    """Of all generations."""
    known = rates.processes if rates is not None else {}
    return [ProcessView(process, known.get(process.pid)) for process in processes(status)]


def reports(status: "ServerStatus") -> "Iterator[tuple[ProcessStatus, ChildReport]]":
    """Of the processes that answered."""
    for process in processes(status):
        if process.report is not None:
            yield process, process.report


def unfinished(status: "ServerStatus") -> int:
    """Requests, streams and connections that have to end before the server can."""
    return sum(report.running for _, report in reports(status))


def oldest(status: "ServerStatus") -> "list[Running]":
    """Those of them that the processes name."""
    return [one for _, report in reports(status) for one in report.oldest]


def streams(status: "ServerStatus") -> "Iterator[tuple[ProcessStatus, str, PathStreams]]":
    """By process and path."""
    for process, report in reports(status):
        for path, one in report.streams.items():
            yield process, path, one


def streams_by_path(status: "ServerStatus") -> list[tuple[str, int, float]]:
    """Path, number, and age of the oldest in seconds; the most frequent first."""
    found: dict[str, tuple[int, float]] = {}
    for _, path, one in streams(status):
        number, age = found.get(path, (0, 0.0))
        found[path] = number + one.count, max(age, one.oldest)
    return sorted(
        ((path, number, age) for path, (number, age) in found.items()), key=lambda one: (-one[1], one[0])
    )
