"""What a process is busy with, for operators: `hsrv status`, and what a drain waits for."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final, Literal, NamedTuple

from hsrv.common.request import Address, RequestHead
from hsrv.http.connection import HTTPConnection
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import State
from hsrv.ipc.messages import Trace
from hsrv.rpc.methods import REPORT_LIMIT, PathStreams, Running

AT_REST: Final = frozenset({State.IDLE, State.CLOSED, State.HANDED_OFF})

PATH_LIMIT: Final = 200
"""Characters of a path that are shown."""

Kind = Literal["request", "stream", "websocket", "connection"]


class Activity(NamedTuple):
    """One thing that has to end before its process can."""

    began: float
    """time.monotonic()"""
    kind: Kind
    state: str
    head: RequestHead | None
    trace: Trace | None
    client: Address | None
    pattern: str
    """The glob of the path of a stream; "" for others."""


IsStream = Callable[[Exchange], bool]


def activities(
    connections: Iterable[HTTPConnection], exchanges: AbstractSet[Exchange], is_stream: IsStream
) -> Iterator[Activity]:
    """One for every connection that isn't idle, and for every application call that outlives its connection."""
    seen: set[Exchange] = set()
    for connection in connections:
        if connection.state not in AT_REST and not connection.unused:
            yield _of_connection(connection, is_stream)
            if connection.exchange is not None:
                seen.add(connection.exchange)
    for exchange in exchanges - seen:
        yield _of_exchange(exchange, is_stream, "response over, application runs")


def _of_connection(connection: HTTPConnection, is_stream: IsStream) -> Activity:
    state = connection.state.name.lower()
    if connection.exchange is not None:
        return _of_exchange(connection.exchange, is_stream, state)
    client = connection.conn.origin.client
    head, trace = connection.waiting or (None, None)
    return Activity(
        connection.opened_at, "connection" if head is None else "request", state, head, trace, client, ""
    )


def _of_exchange(exchange: Exchange, is_stream: IsStream, state: str) -> Activity:
    stream = is_stream(exchange)
    return Activity(
        exchange.started_at,
        "stream" if stream else "request",
        state,
        exchange.head,
        exchange.trace,
        exchange.origin.client,
        exchange.pattern() if stream else "",
    )


def oldest(found: Iterable[Activity], now: float) -> list[Running]:
    """The REPORT_LIMIT oldest, in words."""
    return [
        _in_words(activity, now)
        for activity in heapq.nsmallest(REPORT_LIMIT, found, key=lambda one: one.began)
    ]


def by_path(found: Iterable[Activity], now: float) -> dict[str, PathStreams]:
    """The streams by path, the REPORT_LIMIT with the most."""
    began: dict[str, list[float]] = defaultdict(list)
    for activity in found:
        if activity.kind in ("stream", "websocket"):
            began[activity.pattern[:PATH_LIMIT]].append(activity.began)
    most = heapq.nlargest(REPORT_LIMIT, began.items(), key=lambda item: len(item[1]))
    return {path: PathStreams(count=len(times), oldest=now - min(times)) for path, times in most}


def _in_words(activity: Activity, now: float) -> Running:
    head, trace = activity.head, activity.trace
    return Running(
        kind=activity.kind,
        state=activity.state,
        method=head.method if head is not None else "",
        path=head.path[:PATH_LIMIT] if head is not None else "",
        client=_client(activity.client),
        request_id=trace.request_id if trace is not None else "",
        seconds=round(now - activity.began, 3),
    )


def _client(address: Address | None) -> str:
    if address is None:
        return ""
    host, port = address
    return host if port is None else f"{host}:{port}"
