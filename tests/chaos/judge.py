"""The invariants of requests. Pure: the timeline, the record and the log in, violations out."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tests.chaos.timeline import End, Request, Timeline

SLACK: Final = 0.25
"""Seconds between a kill and the moment at which everybody has noticed."""

EXCUSES: Final = frozenset({"drained", "send_timeout"})
"""Reasons of the server's own to cut a response."""

FORBIDDEN: Final = frozenset(
    {"packet dropped", "invalid message", "peer does not read", "killing", "log call failed"}
)
"""Lines that tell of a fault, or of a budget that should have sufficed."""

Entry = dict[str, Any]


class Judge:
    def __init__(
        self, timeline: Timeline, record: Iterable[str], log: list[Entry], *, has_log: bool = True
    ) -> None:
        self._timeline = timeline
        self._calls = [line.split(" ") for line in record]
        self._pids = {key: int(pid) for key, pid in self._calls}
        self._log = log
        self._has_log = has_log
        self._by_request: dict[str, list[Entry]] = {}
        for entry in log:
            self._by_request.setdefault(str(entry.get("request_id")), []).append(entry)

    def violations(self) -> Iterator[str]:
        """Each with the lines that prove it."""
        yield from self._timeline.wrong
        counts = Counter(key for key, _ in self._calls)
        for key in counts.keys() - {request.key for request in self._timeline.requests}:
            yield f"ran, and nobody asked for it: {key}"
        for request in self._timeline.requests:
            fault = self._fault(request, counts[request.key])
            if fault:
                yield self._told(request, fault)
        for entry in self._log:
            if "exception" in entry or entry["event"] in FORBIDDEN or "Traceback" in str(entry.get("text")):
                yield f"in the log: {entry}"

    def _fault(self, request: Request, count: int) -> str:
        if count > 1:
            return f"ran {count} times"
        if request.end is End.OK:
            cut = any(entry["event"] == "response cut" for entry in self._by_request.get(request.key, ()))
            return (
                "answered whole, and cut by the log"
                if cut
                else ""
                if count
                else "answered with 200, and never ran"
            )
        if request.end is End.STUCK:
            return "never answered"
        if request.end is End.REFUSED:
            return self._fault_of_refusal(request, count)
        if request.end is End.LOST and not self._explained(request):
            return "lost without a reason"
        return ""

    def _fault_of_refusal(self, request: Request, count: int) -> str:
        if request.detail != "503":
            return f"refused with {request.detail}"
        if count:
            return "refused with 503, and ran"
        shed = any(entry["event"] == "request shed" for entry in self._by_request.get(request.key, ()))
        return "" if shed or not self._has_log else "refused with 503, and not in the log"

    def _explained(self, request: Request) -> bool:
        """Whether the process was killed that had the request; when nobody began it, whether one was killed that may
        have had it, or the server was told to stop and closed the connection meanwhile; or whether the log says why."""
        pid = self._pids.get(request.key)
        if pid is None and request.ended >= self._timeline.terminated_at:
            return True
        begin = request.began if pid else request.since
        killed = any(
            pid in (None, kill.pid) and kill.role in ("worker", "pool")
            for kill in self._timeline.kills
            if begin - SLACK <= kill.at <= request.ended
        )
        return killed or any(
            entry.get("reason") in EXCUSES for entry in self._by_request.get(request.key, ())
        )

    def _told(self, request: Request, fault: str) -> str:
        began = self._timeline.began
        times = ", ".join(
            f"{what} at {at - began:.3f}"
            for what, at in (("alive", request.since), ("asked", request.began), ("over", request.ended))
        )
        pid = self._pids.get(request.key)
        first = f"{request.kind} {request.key}: {fault} ({request.detail}); {times}, run by {pid}"
        lines = [first, *(f"    {entry}" for entry in self._by_request.get(request.key, ()))]
        return "\n".join(lines)
