"""What a connection and its host are to each other.

`Connection` is what a connection consists of, its one way to move, and what a host may have it do. `Host` is what it
needs of the process that it is in: resources, decisions and reports. `hsrv.http.connection` and `hsrv.http.host`
implement them and don't know each other.

The lock: code that touches connections holds `Host.turn`. The poller, the sweep and the loop's callbacks acquire it; so
does `Exchange`, for the methods that the application calls; but writing in the middle of a response (state RUNNING)
needs no lock, because no other code uses that connection then. The lock is free while the application runs: meanwhile
another thread may move connections that are between two requests.
"""

import asyncio
import math
from collections.abc import Coroutine
from contextvars import Context
from enum import Enum, auto
from typing import Any, Protocol

from hsrv.board.scoreboard import Scoreboard
from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.common.tables import IllegalMoveError
from hsrv.common.terms import EndReason, Identity
from hsrv.events.types import Move
from hsrv.http.backlog import Backlog
from hsrv.http.observer import Observer
from hsrv.http.request.calltimes import CallTimes
from hsrv.http.request.exchange import Exchange
from hsrv.http.request.scope import ScopeBuilder
from hsrv.http.states import MOVES, Event, State
from hsrv.http.wire.head import HeadLimits
from hsrv.http.wire.parser import HeadParser
from hsrv.http.wire.response import DefaultHeaders
from hsrv.ipc.messages import Origin, Trace
from hsrv.net.conn import Conn, Sender
from hsrv.options.config import Config
from hsrv.system.native import mypyc_attr
from hsrv.system.realthreads import RLock


class Outcome(Enum):
    """What became of a connection, or of its request."""

    HERE = auto()
    """It stays, or is served, here and now."""
    LATER = auto()
    """It stays, and waits."""
    ELSEWHERE = auto()
    """Another process has it."""
    REFUSED = auto()
    """It is answered with an error, or closed."""
    OVER = auto()
    """It was served to its end."""


class Caller(Protocol):
    """Calls an application of another kind than ASGI."""

    scopes: ScopeBuilder
    """Builds what it is called with."""
    running: Exchange | None
    """The call that runs on the loop's thread now, outside of any task."""

    def call(self, exchange: Exchange) -> Coroutine[Any, Any, None]: ...
    def stream_found(self, exchange: Exchange) -> None:
        """The response of a call turned out to be long-lived."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Host:
    """What a connection needs of the process that it is in."""

    # resources

    identity: Identity
    settings: Config
    loop: asyncio.AbstractEventLoop
    board: Scoreboard
    turn: RLock
    """See above."""
    backlog: Backlog
    """Connections with a body of which more was read than may be interpreted at once."""
    context: Context
    """What the context of each call is a copy of."""
    parse: HeadParser
    limits: HeadLimits
    state: dict[str, Any]
    """The lifespan state; each request gets a shallow copy."""
    scopes: ScopeBuilder
    long_after: float
    """Seconds from which on the delegate is told what the first step of a call took."""
    call_times: CallTimes
    default_headers: DefaultHeaders
    """The server's own header lines."""
    send_timeout: float
    closing: bool
    """Every further response says `Connection: close`."""
    keeps_idle: bool
    """Whether a connection mostly stays when it becomes idle."""
    answers_half_closed: bool
    """Whether a client that closed its sending side is still answered."""
    observer: Observer | None
    """Receives events; None in a process without collectors."""
    delegate: "Delegate"

    def call(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """The call of the application, to be run by a task."""
        raise NotImplementedError

    def waited_too_long(self, connection: "Connection") -> None:
        """The deadline of `Connection.wait()` is over: answer it."""
        raise NotImplementedError

    # reports

    def started(self, connection: "Connection", exchange: Exchange) -> None:
        """The application call waits for something."""
        raise NotImplementedError

    def response_begun(self, connection: "Connection", exchange: Exchange) -> None:
        """A response is begun that was not complete in its first message."""
        raise NotImplementedError

    def finished(self, connection: "Connection", exchange: Exchange, reason: EndReason) -> None:
        """The response is written, or never will be."""
        raise NotImplementedError

    def returned(self, exchange: Exchange) -> None:
        """The application call is over."""
        raise NotImplementedError

    def report_app_error(self, exchange: Exchange, error: BaseException | None) -> None:
        """The application raised, or returned without a complete response."""
        raise NotImplementedError

    def refused(self, connection: "Connection", error: ClientError, cause: EndReason) -> None:
        """A request that can't be served is answered with an error."""
        raise NotImplementedError

    def proxy_refused(self, connection: "Connection", why: str) -> None:
        """A trusted proxy sent no PROXY header, or a malformed one. The connection is closed."""
        raise NotImplementedError

    def closed(self, connection: "Connection", reason: EndReason) -> None:
        """The connection left this process."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Delegate:
    """What decides about the connections of a process, where a worker and a pool differ. `HTTPHost` counts and tells
    observers before it asks or tells its delegate. Without an override, everything is served here."""

    # decisions

    def identified(self, connection: "Connection") -> Outcome:
        """A PROXY header has named the client. HERE or REFUSED."""
        return Outcome.HERE

    def take(self, connection: "Connection", head: RequestHead, trace: Trace) -> Outcome:
        """Where a request runs, called when its head is complete. Unless HERE, the delegate has dealt with it."""
        return Outcome.HERE

    def idle(self, connection: "Connection") -> Outcome:
        """Whether the connection, now between two requests, stays. HERE or ELSEWHERE."""
        return Outcome.HERE

    def is_timed(self, exchange: Exchange) -> bool:
        """Whether the response is due within --request-timeout."""
        return True

    def is_stream(self, exchange: Exchange) -> bool:
        """Whether the operator is shown a stream rather than a request."""
        return exchange.is_stream

    # reports

    def started(self, exchange: Exchange) -> None:
        """The application call waits for something."""

    def held_up(self, exchange: Exchange) -> None:
        """The application call waits for its client: to take what was written, or to send its body."""

    def goes_on(self, exchange: Exchange) -> None:
        """It does so no more."""

    def returned(self, exchange: Exchange) -> None:
        """The application call is over."""

    def stream_found(self, exchange: Exchange, pattern: str) -> None:
        """A response turned out to be long-lived: an event stream, or still open after `--stream-after`. Once each.
        `pattern`: the glob of its path."""

    def closed(self, connection: "Connection", reason: EndReason) -> None:
        """The connection left this process."""

    def lasted(self, connection: "Connection", exchange: Exchange, seconds: float) -> None:
        """The first step of a call took at least `Host.long_after`. Called before `idle`, as a rule."""

    def sweep(self, now: float) -> None:
        """Act on every overdue deadline. Called periodically."""
        raise NotImplementedError


class Connection:
    """One client connection of this process, as its host knows it."""

    __slots__ = (
        "_loop",
        "buffer",
        "cause",
        "conn",
        "deadline",
        "exchange",
        "host",
        "opened_at",
        "parkable",
        "peer",
        "served",
        "state",
        "waiting",
    )

    def __init__(self, conn: Conn, host: Host) -> None:
        self.conn = conn
        self.host = host
        self.served = conn.origin.requests_served
        """Requests answered on this connection, in all processes."""
        self.opened_at = host.loop.time()
        """loop.time() when this process got it."""
        self.peer = b""
        """The client's address on the scoreboard; made for the first request."""
        self.parkable = True
        """Whether the parking lot may have it when it is idle."""
        self._loop = host.loop
        self.buffer = bytearray()
        """Read, not yet interpreted."""
        self.state = State.PREFACE if conn.origin.proxy_header else State.IDLE
        self.deadline = math.inf
        """loop.time() at which the present state has lasted too long."""
        self.exchange: Exchange | None = None
        self.waiting: tuple[RequestHead, Trace] | None = None
        """The request of state WAITING."""
        self.cause: EndReason | None = None
        """Why it was refused. Counted then, so no more when it closes."""

    def move(self, event: Event) -> None:
        """Into the next state. Nothing else assigns it. Raises `IllegalMoveError`, and changes nothing."""
        try:
            self.state = MOVES[self.state][event]
        except KeyError:
            raise IllegalMoveError(f"{event} is not allowed in {self.state}") from None

    def _on_readable(self) -> None:
        raise NotImplementedError

    # what a host has it do: a request that it holds back

    def wait(self, head: RequestHead, trace: Trace, seconds: float) -> None:
        """Hold the request back until `proceed()`, `give()` or the deadline."""
        raise NotImplementedError

    def proceed(self) -> None:
        """Serve the request that waited."""
        raise NotImplementedError

    def answer_unavailable(self) -> None:
        """Answer the request that waits, or a new connection before its first request, with 503, and close."""
        raise NotImplementedError

    def abort(self, reason: EndReason) -> None:
        """Close with a reset: nothing that was cut may look complete."""
        raise NotImplementedError

    # to another process

    def give(self, channel: Sender, packet: bytes, kind: Move) -> None:
        """Pass it on with `packet`. `kind`: for observers. Raises ChannelError: then it stays ours, as before."""
        raise NotImplementedError

    def release(self) -> tuple[Conn, bytes]:
        """Let go of an idle connection: it is the caller's now, unwatched, with what was read of the next request."""
        raise NotImplementedError

    def origin(self) -> Origin:
        """What another process must know of this connection."""
        raise NotImplementedError

    def handoff(self, head: RequestHead, trace: Trace) -> bytes:
        """The packet that moves it, with a request that was not run, to the pool."""
        raise NotImplementedError

    def request(self, head: RequestHead, trace: Trace) -> bytes:
        """The packet that moves it, with a request that was not run, to a worker."""
        raise NotImplementedError

    def adoption(self) -> bytes:
        """The packet that moves it, in a state of `GIVEABLE`, to another process."""
        raise NotImplementedError

    def parking(self) -> bytes:
        """The packet that moves it to the parking lot."""
        raise NotImplementedError
