"""Which events may follow which on one connection, over all processes: the table of docs/events.md, and its check.

Pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]

LIFE: dict[str, dict[str, str]] = {
    "new": {"ConnectionOpened": "idle"},
    "idle": {  # between two requests; with the pool, if no worker has accepted it, or after a stream
        "RequestStarted": "running",
        "RequestRefused": "refused",
        "HandoffSent": "sent",
        "ConnectionParked": "parked",
        "ConnectionClosed": "closed",
    },
    "handed over": {  # with the pool: a request that was not run yet
        "RequestStarted": "running",
        "RequestRefused": "refused",
        "ConnectionClosed": "closed",
    },
    "running": {
        "ResponseStarted": "responding",
        "ResponseCompleted": "idle",
        "RequestFailed": "failed",
        "RequestRefused": "running",
        "StreamOpened": "streaming",
    },
    "responding": {
        "StreamOpened": "streaming",
        "ResponseCompleted": "idle",
        "RequestFailed": "failed",
        "RequestRefused": "responding",
    },
    "streaming": {"StreamClosed": "streamed", "RequestRefused": "streaming"},
    "streamed": {"ResponseCompleted": "idle", "RequestFailed": "failed"},
    "failed": {"ConnectionClosed": "closed"},
    "refused": {"ConnectionClosed": "closed"},
    "to be parked": {
        "ConnectionParked": "parked",
        "RequestStarted": "running",  # part of its next request was read before
        "RequestRefused": "refused",
        "HandoffSent": "sent",  # for a worker; or the lot is full, or leaves
        "ConnectionClosed": "closed",
    },
    "parked": {  # its next request is read by the pool
        "RequestStarted": "running",
        "RequestRefused": "refused",
        "HandoffSent": "sent",
        "ConnectionClosed": "closed",
    },
    "sent": {"HandoffAdopted": "(by its kind)"},
    "closed": {},
}

ADOPTED = {
    "adopt": "idle",
    "request": "handed over",
    "websocket": "handed over",
    "parked": "to be parked",
}

ROLES = {
    "ConnectionParked": "pool",
    "request": "pool",
    "websocket": "pool",
    "parked": "pool",
}
"""Where an event may happen, or an adoption of this kind."""


class Connection:
    """One connection's way through the table."""

    def __init__(self, killed: set[int]) -> None:
        self.killed = killed
        self.state = "new"
        self.owner = 0
        self.sent = ""
        """The kind that it was sent with last."""
        self.steps: list[tuple[str, str]] = []

    def take(self, row: Row) -> str:
        """Go on; what is wrong with this event, "" if nothing is."""
        name, pid, role = row["type"], row["source"]["pid"], row["source"]["role"]
        kind = row.get("kind", "")
        arrives = name in ("ConnectionOpened", "HandoffAdopted")
        if arrives and self.owner in self.killed and self.state not in ("sent", "new"):
            self.state, self.sent = "sent", kind  # killed after it had sent, before it could tell
        to = LIFE[self.state].get(name)
        if to is None:
            return f"{name} when {self.state}"
        if not arrives and pid != self.owner:
            return f"{name} in {pid}, but {self.owner} owns it"
        if ROLES.get(kind if name == "HandoffAdopted" else name, role) != role:
            return f"{name} {kind} in a {role}"
        if name == "HandoffAdopted":
            if kind != self.sent:
                return f"sent as {self.sent}, adopted as {kind}"
            to = ADOPTED[kind]
        self.steps.append((self.state, name))
        self.state, self.owner, self.sent = to, pid, kind
        return ""

    def end(self) -> str:
        """What is wrong with where it has ended."""
        if self.state == "closed" or self.owner in self.killed:
            return ""
        if self.state == "sent" and self.killed:
            return ""  # whoever received it may have been killed before it could tell
        return f"ended {self.state}, in {self.owner}"


def check(rows: Iterable[Row], killed: set[int]) -> tuple[list[str], Counter[tuple[str, str]]]:
    """What is wrong, and how often each step was taken. `killed`: pids whose connections may end anywhere."""
    ways: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        ways[row["connection"]].append(row)
    problems: list[str] = []
    steps: Counter[tuple[str, str]] = Counter()
    for name, way in ways.items():
        way.sort(key=lambda row: row["clock"])
        problem, connection = _follow(way, killed)
        steps.update(connection.steps)
        if problem:
            problems.append(f"{name}: {problem}: {[(one['type'], one['source']['pid']) for one in way]}")
    return problems, steps


def _follow(way: list[Row], killed: set[int]) -> tuple[str, Connection]:
    connection = Connection(killed)
    for row in way:
        if problem := connection.take(row):
            return problem, connection
    return connection.end(), connection
