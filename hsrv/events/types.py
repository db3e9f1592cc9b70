"""Lifecycle events: what happens to connections, requests, streams and processes.

Owns the event types and the list of subscribed factories. Promises: a process without a collector does no work for
events: it has no observer (`hsrv.http.observer`). Pure.

    class Slow:
        def collect(self, event):
            if isinstance(event, hsrv.events.ResponseCompleted) and event.seconds > 1:
                print(event.path, event.seconds)

    hsrv.subscribe(lambda source: Slow() if source.role == "worker" else None)

The order of events on one connection: docs/events.md.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import msgspec

from hsrv.common.request import Address
from hsrv.common.terms import Role

Move = Literal["request", "websocket", "parked", "adopt"]
"""Why a connection moves to another process: with a request that was not run, or an upgrade request, to the pool; idle,
to the parking lot; between two requests, to a worker."""

StreamKind = Literal["http", "event-stream", "websocket"]
"""`http`: a response that was still open after `--stream-after`."""


class Source(msgspec.Struct, frozen=True):
    """A process."""

    role: Role
    slot: int
    """1-based within the role; 0 for the supervisor. A replacement takes the slot of the process that died."""
    generation: int
    """0 for the supervisor."""
    pid: int


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base of all events. In JSON (`msgspec.json.encode`) its name is under `type`."""

    at: float
    """time.time()."""
    clock: float
    """time.monotonic(): one clock for all processes, so events can be sorted by it."""
    source: Source
    """Where it happened."""


class ConnectionEvent(Event, frozen=True, kw_only=True):
    connection: str
    """Identifies the connection for its whole life, in every process."""


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
    """It left this process for another. `at` is the time before the send: the other process may have it before the send
    returns."""

    kind: Move


class HandoffAdopted(ConnectionEvent, frozen=True, kw_only=True):
    """It came from another process."""

    kind: Move


class ConnectionParked(ConnectionEvent, frozen=True, kw_only=True):
    """It is idle in the pool's parking lot."""


class ConnectionClosed(ConnectionEvent, frozen=True, kw_only=True):
    """It ended."""

    reason: str
    """One of `hsrv.common.terms.EndReason`."""
    requests: int
    """Requests answered on it, in all processes."""


class RequestStarted(RequestEvent, frozen=True, kw_only=True):
    """The application is about to be called. Collected in the context of the call: the application sees context
    variables that a collector sets."""

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
    """Part of a response was written, and more follows. A response sent in one piece has only its end."""

    status: int


class StreamOpened(RequestEvent, frozen=True, kw_only=True):
    """The response is long-lived, or the WebSocket is open."""

    kind: StreamKind


class StreamClosed(RequestEvent, frozen=True, kw_only=True):
    kind: StreamKind
    reason: str
    """One of `hsrv.common.terms.EndReason`."""
    seconds: float
    """Since its request began to run."""
    code: int = 0
    """For a WebSocket: the code of its close frame."""


class _ResponseEnded(RequestEvent, frozen=True, kw_only=True):
    status: int
    """0: the response had not begun."""
    method: str
    path: str
    route: str
    """The framework's route, like /users/{id}; "" if it leaves none in the scope."""
    seconds: float
    """Since the application was called."""
    body_bytes: int


class ResponseCompleted(_ResponseEnded, frozen=True, kw_only=True):
    """It is written completely. Also for error responses of the server: 500 for an application that raised."""


class RequestFailed(_ResponseEnded, frozen=True, kw_only=True):
    """The response was cut off, or will not be sent."""

    reason: str
    """One of `hsrv.common.terms.EndReason`."""


class RequestRefused(ConnectionEvent, frozen=True, kw_only=True):
    """The server answers with an error and closes the connection. Before RequestStarted: the application doesn't see
    the request. After it: the request body was malformed or too slow."""

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
    """It ended without having been told to."""

    reason: str


class WorkerEnded(WorkerEvent, frozen=True, kw_only=True):
    """It ended as intended: drained or dismissed."""

    reason: str


class GenerationServes(Event, frozen=True, kw_only=True):
    """All its processes are ready: it gets the requests from now on."""

    generation: int


class ReloadStarted(Event, frozen=True, kw_only=True):
    """A reload was requested."""

    reload: str
    """Its id, as in the log."""


class ReloadFinished(Event, frozen=True, kw_only=True):
    reload: str
    error: str
    """Why the old code keeps serving; "" when the new code serves."""


class ServerStopping(Event, frozen=True, kw_only=True):
    """It was told to stop."""


# collectors


@runtime_checkable
class Collector(Protocol):
    """Receives every event of its process, one at a time, in order.

    `collect` is called in the event loop's thread, or, while that loop is blocked, in another one: the server waits for
    it, so it must not block. An exception is logged once per kind of event, and has no other effect. An optional method
    `close()` is called at the end of the process and has CLOSE_TIMEOUT (`hsrv.events.collectors`) to flush.
    """

    def collect(self, event: Event) -> None: ...


CollectorFactory = Callable[[Source], Collector | None]
"""Called once in each process, after the fork and lifespan startup, so it may start threads. None: no collector in this
process."""

_subscribed: list[CollectorFactory] = []


def subscribe(factory: CollectorFactory) -> CollectorFactory:
    """Register a collector for every worker and pool. Called by the application before its lifespan startup is
    complete: in its modules, which may be imported before the fork, or in its startup. Usable as a decorator."""
    if factory not in _subscribed:
        _subscribed.append(factory)
    return factory


def subscribed() -> list[CollectorFactory]:
    """All factories subscribed in this process or before its fork."""
    return list(_subscribed)
