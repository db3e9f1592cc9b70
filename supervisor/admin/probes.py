"""The probes: requests of load balancers and orchestrators, about once a second.

Promise: they only read the supervisor's own state, so their cost doesn't depend on what the processes do. No process is
asked.
"""

from collections import Counter
from typing import Final

from hsrv.common.terms import Role
from hsrv.supervisor.admin.http.route import Request, Response, json_response
from hsrv.supervisor.plan.capacity import not_ready
from hsrv.supervisor.plan.fleet import ChildState
from hsrv.supervisor.plan.state import ServerPhase, View

UNAVAILABLE: Final = 503


class Probes:
    """The probes of one server."""

    def __init__(self, plan: View) -> None:
        self._plan = plan

    async def livez(self, request: Request) -> Response:
        """The supervisor's loop runs, as the answer proves."""
        return json_response({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """Whether the server is ready for traffic."""
        why = not_ready(self._plan)
        return json_response(
            {"status": "not ready" if why else "ready", "reason": why, **self._fleet()},
            UNAVAILABLE if why else 200,
        )

    async def startupz(self, request: Request) -> Response:
        """Whether a generation has served, whatever happened later: the start is over."""
        started = self._plan.has_served
        why = "" if started else self._why_not_started()
        return json_response(
            {"status": "started" if started else "starting", "reason": why, **self._fleet()},
            200 if started else UNAVAILABLE,
        )

    def _why_not_started(self) -> str:
        if self._plan.phase is not ServerPhase.RUNNING:
            return "stopping"
        states = Counter(
            child.state.name.lower()
            for one in self._plan.generations.values()
            for child in one.children.values()
        )
        shown = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"processes: {shown}" if shown else "the application is being imported"

    def _fleet(self) -> dict[str, object]:
        serving = self._plan.serving()
        everyone = serving.everyone() if serving is not None else []
        count = Counter(one.identity.role for one in everyone if one.state is ChildState.SERVING)
        return {
            "generation": serving.number if serving is not None else 0,
            "workers": {"serving": count[Role.WORKER], "wanted": self._plan.workers},
            "pools": {"serving": count[Role.POOL], "wanted": self._plan.pools},
        }
