"""Says what a stop waits for, and how long at most."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from hsrv.common.terms import Role
from hsrv.logs.logging import get_logger
from hsrv.rpc.operator import ServerStatus
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.state import ServerPhase

PATIENCE: Final = 0.5
"""Seconds in which a usual stop is over, and nothing need be said."""

log = get_logger("hsrv.supervisor")


async def tell_waiting(plan: Plan, read: Callable[[], Awaitable[ServerStatus]], hint: str) -> None:
    """To be called when the server was told to stop. `hint`: how to end it at once."""
    await anyio.sleep(PATIENCE)
    status = await read()
    text = waiting_for(status, plan)
    if text and plan.phase in (ServerPhase.DELAYING, ServerPhase.STOPPING):
        log.info("waiting", what=text, hint=hint)


def waiting_for(status: ServerStatus, plan: Plan) -> str:
    """What is open, with the time that it has; "" if that is nothing."""
    budgets = plan.settings.stop_budgets
    running = dict.fromkeys(Role, 0)
    for generation in status.generations:
        for process in generation.processes:
            if process.report is not None:
                running[Role(process.role)] += process.report.running
    parts = [
        f"{count} {one if count == 1 else many} (at most {seconds:g} s)"
        for count, one, many, seconds in (
            (running[Role.WORKER], "request", "requests", budgets.graceful),
            (running[Role.POOL], "stream", "streams", budgets.stream_grace),
        )
        if count
    ]
    return " and ".join(parts)
