"""Requests that take longer than --request-timeout, in a worker or, until they turn out to be streams, in the pool."""

import time
from typing import TYPE_CHECKING

from hsrv.board import stacks
from hsrv.board.layout import Count, Occupant
from hsrv.http.host import trace_context
from hsrv.http.request.calls import occupant_of
from hsrv.http.request.exchange import Exchange
from hsrv.logs.logging import get_logger

if TYPE_CHECKING:
    from hsrv.http.host import HTTPHost

log = get_logger("hsrv.http")


def end_overdue(host: "HTTPHost", hint: str) -> None:
    """Answer them with 504, or cut what was begun, and cancel their calls. To be called now and then. `hint`: for the
    log."""
    limit, now = host.settings.request_timeout, time.monotonic()
    if not limit:
        return
    for exchange in list(host.unfinished()):
        if exchange.waits_for_client:
            exchange.busy_since = now
        elif now - exchange.busy_since >= limit and not exchange.overdue:
            _end(host, exchange, now, hint)
    host.board.stuck(_stuck(host, now))


def _end(host: "HTTPHost", exchange: Exchange, now: float, hint: str) -> None:
    host.board.count(Count.TIMED_OUT)
    log.error(
        "request timed out",
        method=exchange.head.method,
        path=exchange.head.path,
        seconds=round(now - exchange.started_at, 3),
        hint=hint,
        stacks=stacks.describe(exchange.task) if exchange.task is not None else "",
        **trace_context(exchange.trace),
    )
    exchange.time_out(now)


def _stuck(host: "HTTPHost", now: float) -> Occupant | None:
    """A call that was cancelled, and has not ended --hang-grace later."""
    grace = host.settings.hang_grace
    stuck = [one for one in host.calls.all if one.overdue and now - one.overdue > grace]
    return occupant_of(min(stuck, key=lambda one: one.overdue)) if stuck else None
