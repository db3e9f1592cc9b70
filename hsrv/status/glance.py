"""Figures of a process from its status, common to `hsrv top` and the dashboard. Pure."""

from typing import TYPE_CHECKING

from hsrv.status.rates import processes

if TYPE_CHECKING:  # only for types
    from hsrv.rpc.operator import ProcessStatus, ServerStatus


def running(process: "ProcessStatus") -> int | None:
    """Application calls: the waiting ones and the running one. None without a scoreboard."""
    board = process.board
    return None if board is None else board.gauges.get("in_flight", 0) + (board.current is not None)


def streams(process: "ProcessStatus") -> int | None:
    """Streams and WebSockets."""
    board = process.board
    return None if board is None else board.gauges.get("streams", 0) + board.gauges.get("websockets", 0)


def memory(process: "ProcessStatus") -> int | None:
    """Bytes; if the system reports it, with shared pages divided among their users."""
    return process.pss if process.pss is not None else process.rss


def streams_by_path(status: "ServerStatus") -> list[tuple[str, int, float]]:
    """Path, number, and age of the oldest in seconds; the most frequent first."""
    found: dict[str, tuple[int, float]] = {}
    for process in processes(status):
        for path, one in (process.report.streams if process.report is not None else {}).items():
            number, oldest = found.get(path, (0, 0.0))
            found[path] = number + one.count, max(oldest, one.oldest)
    return sorted(
        ((path, number, oldest) for path, (number, oldest) in found.items()),
        key=lambda one: (-one[1], one[0]),
    )
