"""A status in the format of the dashboard: flat, small, with rates. Pure.

The page (`dashboard.html`) reads these fields: a new one is added in both.
"""

from typing import Any, Final

import msgspec

from hsrv.rpc.operator import BoardStatus, ServerStatus
from hsrv.status.model import ProcessView, process_views, streams_by_path
from hsrv.status.rates import Rates, RoleRates

PATHS_LIMIT: Final = 50
"""Maximum number of paths with streams; those with the most are shown."""

_SUMS: Final = ("connections", "idle", "waiting", "parked", "websockets")
"""Gauges that are summed up per role."""


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """All processes of a role together, at this moment."""

    rates: RoleRates | None
    """null in the first answer."""
    running: int
    streams: int
    gauges: dict[str, int]
    cpu: float
    """Cores."""
    memory: int
    """Bytes."""


def document(status: ServerStatus, rates: Rates | None) -> dict[str, Any]:
    """The data of one second."""
    return {
        "at": round(status.started_at + status.uptime, 3),
        "server": _server(status),
        "listeners": status.listeners,
        "generations": [
            {"number": one.number, "state": one.state, "reload_id": one.reload_id}
            for one in status.generations
        ],
        "roles": roles(status, rates),
        "processes": [_process(process) for process in process_views(status, rates)],
        "streams": [
            {"path": path, "count": number, "oldest": oldest}
            for path, number, oldest in streams_by_path(status)[:PATHS_LIMIT]
        ],
        "deaths": status.deaths,
    }


def _server(status: ServerStatus) -> dict[str, Any]:
    names = (
        "hsrv",
        "python",
        "pid",
        "app",
        "uptime",
        "phase",
        "ready",
        "not_ready_because",
        "workers",
        "pools",
    )
    return {name: getattr(status, name) for name in names}


def roles(status: ServerStatus, rates: Rates | None) -> dict[str, Role]:
    """By name, including roles without a process."""
    everyone = process_views(status, rates)
    known = rates.roles if rates is not None else {}
    return {
        name: _role([process for process in everyone if process.status.role == name], known.get(name))
        for name in status.totals
    }


def _role(members: list[ProcessView], rates: RoleRates | None) -> Role:
    return Role(
        rates=rates,
        running=sum(process.running or 0 for process in members),
        streams=sum(process.streams or 0 for process in members),
        gauges={name: sum(process.gauge(name) or 0 for process in members) for name in _SUMS},
        cpu=round(sum(process.cpu or 0.0 for process in members), 3),
        memory=sum(process.memory or 0 for process in members),
    )


def _process(view: ProcessView) -> dict[str, Any]:
    process, board = view.status, view.status.board
    return {
        "name": process.name,
        "role": process.role,
        "slot": process.slot,
        "generation": process.generation,
        "pid": process.pid,
        "state": process.state,
        "leader": process.leader,
        "age": process.age,
        "deadline": process.deadline,
        "memory": view.memory,
        "cpu": view.cpu,
        "requests": view.requests,
        "running": view.running,
        "streams": view.streams,
        "connections": view.gauge("connections"),
        "board": _board(board) if board is not None else None,
    }


def _board(board: BoardStatus) -> dict[str, Any]:
    return {
        "current": board.current,
        "oldest": board.oldest,
        "note": board.note.partition("\n")[0],
        "waiting": board.gauges.get("waiting", 0),
        "thread_silence": board.thread_silence,
        "loop_silence": board.loop_silence,
    }


def point(document: dict[str, Any]) -> dict[str, Any]:
    """The part that is kept for the charts of a page that is opened later."""
    return {
        "at": document["at"],
        "roles": {name: _kept(role) for name, role in document["roles"].items()},
    }


def _kept(role: Role) -> dict[str, Any]:
    rates = role.rates
    return {
        "requests": rates.requests if rates is not None else None,
        "p50": rates.p50 if rates is not None else None,
        "p99": rates.p99 if rates is not None else None,
        "running": role.running,
        "streams": role.streams,
        "cpu": role.cpu,
        "memory": role.memory,
    }
