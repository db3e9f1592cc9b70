"""Lifecycle events: what happens to connections, requests, streams and processes, for whoever collects it.

Owns the types of the events and the list of those who subscribed. Promises: nothing is looked at, made or called for
events in a process without a collector (`hsrv.http.observed` and its neighbours take the place of the plain classes
only then). Pure.

    class Slow:
        def collect(self, event):
            if isinstance(event, hsrv.events.ResponseCompleted) and event.seconds > 1:
                print(event.path, event.seconds)

    hsrv.subscribe(lambda source: Slow() if source.role == "worker" else None)

What may follow what on one connection: docs/events.md.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import msgspec

from hsrv.common.request import Address
from hsrv.common.terms import Role

Move = Literal["request", "websocket", "parked", "adopt"]
"""Why a connection goes to another process: with a request that was not run, or an upgrade request, to the pool;
idle, to the parking lot; between two requests, to a worker."""

StreamKind = Literal["http", "event-stream", "websocket"]
"""`http`: a response that was still open after `--stream-after`."""


class Source(msgspec.Struct, frozen=True):
    """A process."""

    role: Role
    slot: int
    """1-based within the role; 0 for the supervisor. A replacement takes the slot of the dead."""
    generation: int
    """0 for the supervisor."""
    pid: int


class Event(msgspec.Struct, frozen=True, tag=True):
    """Something that happened. As JSON (`msgspec.json.encode`) it has its name under `type`."""

    at: float
    """time.time()."""
    clock: float
    """time.monotonic(): one clock for all processes, so it orders their events."""
    source: Source
    """Where it happened."""


class ConnectionEvent(Event, frozen=True, kw_only=True):
    connection: str
    """Names the connection for as long as it lives, in whichever process."""


class RequestEvent(ConnectionEvent, frozen=True, kw_only=True):
    request: str
    """The request id, as in the log. A client may have chosen it."""


# in workers and pools


class ConnectionOpened(ConnectionEvent, frozen=True, kw_only=True):
    """It was accepted."""

    client: Address | None
    """None for a Unix socket. Behind --proxy-protocol this is the proxy."""
    server: Address | None


class HandoffSent(ConnectionEvent, frozen=True, kw_only=True):
    """It left this process for another. `at` is the time before it left: the other may have it before we know."""

    kind: Move


class HandoffAdopted(ConnectionEvent, frozen=True, kw_only=True):
    """It came from another process."""

    kind: Move


class ConnectionParked(ConnectionEvent, frozen=True, kw_only=True):
    """It stands idle in the pool's parking lot."""


class ConnectionClosed(ConnectionEvent, frozen=True, kw_only=True):
    """It is over."""

    reason: str
    """One of `hsrv.common.terms.EndReason`."""
    requests: int
    """Answered on it, in all processes."""


class RequestStarted(RequestEvent, frozen=True, kw_only=True):
    """The application is about to be called. Collected in the context of the call: what a collector puts into context
    variables is there for the application."""

    kind: Literal["http", "websocket"]
    method: str
    path: str
    scheme: str
    http_version: str
    client: Address | None
    user_agent: str
    traceparent: str | None
    tracestate: str
    waited: float
    """Seconds since its head was complete: for its body, a place, or another process."""


class ResponseStarted(RequestEvent, frozen=True, kw_only=True):
    """Part of a response was written, and more is to come. A response that is sent whole has only its end."""

    status: int


class StreamOpened(RequestEvent, frozen=True, kw_only=True):
    """The response turned out to be long-lived, or the WebSocket is open."""

    kind: StreamKind


class StreamClosed(RequestEvent, frozen=True, kw_only=True):
    kind: StreamKind
    reason: str
    """One of `hsrv.common.terms.EndReason`."""
    seconds: float
    """Since its request began to run."""
    code: int = 0
    """Of a WebSocket: that of its close frame."""


class _ResponseEnded(RequestEvent, frozen=True, kw_only=True):
    status: int
    """0: the response had not begun."""
    method: str
    path: str
    route: str
    """The framework's name of the path, like /users/{id}; "" where it leaves none in the scope."""
    seconds: float
    """Since the application was called."""
    body_bytes: int


class ResponseCompleted(_ResponseEnded, frozen=True, kw_only=True):
    """It is written whole. Also an error that is answered by the server: 500 for an application that raised."""


class RequestFailed(_ResponseEnded, frozen=True, kw_only=True):
    """The response was cut, or will not come."""

    reason: str
    """One of `hsrv.common.terms.EndReason`."""


class RequestRefused(ConnectionEvent, frozen=True, kw_only=True):
    """The server answers with an error; the connection closes then. Before RequestStarted: the application does not
    see it. After it: its body was malformed or too slow."""

    status: int
    why: str


# in the supervisor


class WorkerEvent(Event, frozen=True, kw_only=True):
    process: Source
    """A worker or a pool."""


class WorkerStarted(WorkerEvent, frozen=True, kw_only=True):
    """It was forked."""


class WorkerReady(WorkerEvent, frozen=True, kw_only=True):
    """The application is loaded, its lifespan has started."""


class WorkerDied(WorkerEvent, frozen=True, kw_only=True):
    """It ended, and nobody had told it to."""

    reason: str


class WorkerEnded(WorkerEvent, frozen=True, kw_only=True):
    """It ended as it should: drained or dismissed."""

    reason: str


class GenerationServes(Event, frozen=True, kw_only=True):
    """All of its processes are ready: it takes the requests from now on."""

    generation: int


class ReloadStarted(Event, frozen=True, kw_only=True):
    """Somebody asked for it."""

    reload: str
    """Its id, as in the log."""


class ReloadFinished(Event, frozen=True, kw_only=True):
    reload: str
    error: str
    """Why the old code goes on; "" when the new one serves."""


class ServerStopping(Event, frozen=True, kw_only=True):
    """It was told to stop."""


# who collects


@runtime_checkable
class Collector(Protocol):
    """Is given every event of its process, one at a time, in the order in which they happen.

    `collect` is called between the server's system calls, in its event loop's thread, or, while that loop stands
    still, in another: the server waits for it, so it must not block. What it raises is logged once per kind of event,
    and goes no further. A method `close()`, where there is one, is called at the process's end and has CLOSE_TIMEOUT
    (`hsrv.events.collectors`) to send what waits.
    """

    def collect(self, event: Event) -> None: ...


CollectorFactory = Callable[[Source], Collector | None]
"""Called once in each process, after the fork and lifespan startup: the place to start threads. None: not in this
one."""

_subscribed: list[CollectorFactory] = []


def subscribe(factory: CollectorFactory) -> CollectorFactory:
    """Have a collector in every worker and pool. For the application, until its lifespan startup is complete: in its
    modules, which may be imported before the fork, or in its startup. Can be used as a decorator."""
    if factory not in _subscribed:
        _subscribed.append(factory)
    return factory


def subscribed() -> list[CollectorFactory]:
    """All that have subscribed in this process or before its fork."""
    return list(_subscribed)
