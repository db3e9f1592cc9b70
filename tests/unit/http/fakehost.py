"""A process for connections without a process: a host in memory, and a lock that knows who must hold it."""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, cast

from hsrv.board.scoreboard import Scoreboard
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason, Identity, Role
from hsrv.http.backlog import Backlog
from hsrv.http.connection import HTTPConnection
from hsrv.http.contract import Connection, Delegate, Host, Outcome
from hsrv.http.request.call import Call
from hsrv.http.request.calltimes import CallTimes
from hsrv.http.request.exchange import Exchange
from hsrv.http.request.scope import ScopeBuilder
from hsrv.http.states import Event, State
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.http.wire.head import HeadLimits
from hsrv.http.wire.parser import choose_parser
from hsrv.http.wire.response import DefaultHeaders
from hsrv.ipc.messages import Origin, Trace
from hsrv.net.conn import Conn
from hsrv.net.context import own_context
from hsrv.net.loops import new_loop
from hsrv.net.poller import poller_of, turn_of
from hsrv.options.config import Config
from hsrv.system.native import is_compiled
from hsrv.system.realthreads import RLock, get_ident

DEADLINE: Final = 10.0
"""Seconds for whatever a test waits for."""

TAKE_IT_THEMSELVES: Final = {"_on_task_done"}
"""Methods of a connection that the loop calls."""


class CheckedTurn:
    """The lock of connections, which says whether the thread that asks holds it."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._owner = self._depth = 0

    def acquire(self, timeout: float = -1.0) -> bool:
        got = self._lock.acquire(timeout=timeout)
        if got:
            self._owner, self._depth = get_ident(), self._depth + 1
        return got

    def release(self) -> None:
        self._depth -= 1
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def held(self) -> bool:
        return self._depth > 0 and self._owner == get_ident()


def _checked(kind: type, attribute: str, take_it_themselves: set[str]) -> dict[str, Any]:
    """The methods of a class, each of which wants the lock held. `attribute`: where its instances have it."""

    def wrap(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            owner = getattr(self, attribute)
            amid_response = name in ("write", "_gather") and owner.connection.state is State.RUNNING
            assert owner.turn.held or amid_response, f"{kind.__name__}.{name} without the lock"
            return method(self, *args, **kwargs)

        return call

    return {
        name: wrap(name, method)
        for base in reversed(kind.__mro__[:-1])
        for name, method in vars(base).items()
        if callable(method) and not name.startswith("__") and name not in take_it_themselves
    }


def _wanting_the_lock(kind: type, attribute: str, take_it_themselves: set[str]) -> type:
    """A class whose methods want the lock held. A compiled class has no subclasses: it is tested as it is."""
    if is_compiled():
        return kind
    slots = {} if attribute in dir(kind) else {"__slots__": (attribute,)}
    return type(
        f"Checked{kind.__name__}", (kind,), {**slots, **_checked(kind, attribute, take_it_themselves)}
    )


CheckedConn: Final = cast("type[Conn]", _wanting_the_lock(Conn, "owner", {"drained"}))
"""`drained` is what the application awaits: it reads a number."""

CheckedConnection: Final = cast(
    "type[HTTPConnection]", _wanting_the_lock(HTTPConnection, "host", TAKE_IT_THEMSELVES)
)


class FakeDelegate(Delegate):
    """Decides as its host is told to."""

    def __init__(self, host: "FakeHost") -> None:
        self.host = host

    def identified(self, connection: Connection) -> Outcome:
        return self.host.decide("identified", connection)

    def take(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        outcome = self.host.decide("take", connection)
        if outcome is Outcome.LATER:
            connection.wait(head, trace, 5.0)
        return outcome

    def idle(self, connection: Connection) -> Outcome:
        return self.host.decide("idle", connection)

    def held_up(self, exchange: Exchange) -> None:
        self.host.tell("held_up")

    def goes_on(self, exchange: Exchange) -> None:
        self.host.tell("goes_on")


class FakeHost(Host):
    """Does what it is told, and keeps what it is told."""

    def __init__(self, loop: asyncio.AbstractEventLoop, app: Application, config: Config) -> None:
        poller: Any = poller_of(loop)
        poller.turn = poller.outbox.turn = self.lock = CheckedTurn()
        poller.outbox.prepare()
        self.app = app
        self.identity = Identity(Role.WORKER, 1, 1)
        self.settings = config
        self.loop = loop
        self.board = Scoreboard()
        self.turn = turn_of(loop)
        self.backlog = Backlog(loop)
        self.context = own_context(loop)
        self.parse = choose_parser("auto")
        self.limits = HeadLimits(request_line=100, head=1000, fields=10, body=config.limit_request_body)
        self.state = {}
        self.call_times = CallTimes()
        self.long_after = math.inf
        self.scopes = ScopeBuilder(root_path="", proxies=TrustedProxies([]), extension={})
        self.default_headers = DefaultHeaders(lambda: 0.0, server=False, date=False)
        self.send_timeout = 60.0
        self.closing = False
        self.answers_half_closed = True
        self.keeps_idle = True
        self.observer = None
        self.delegate = FakeDelegate(self)
        self.decides: dict[str, Callable[[Connection], Outcome]] = {}
        """By the name of the decision; HERE without."""
        self.told: list[tuple[str, object]] = []
        self.connection: Connection

    def tell(self, name: str, what: object = None) -> None:
        assert self.lock.held, f"{name} without the lock"
        self.told.append((name, what))

    def names(self) -> list[str]:
        return [name for name, _ in self.told]

    def reasons(self) -> list[object]:
        """Why connections left."""
        return [what for name, what in self.told if name == "closed"]

    def call(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        return Call(exchange).run(self._outside)

    async def _outside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, which never runs with the lock held."""

        async def receiving() -> Any:
            assert not self.lock.held
            try:
                return await receive()
            finally:
                assert not self.lock.held

        async def sending(message: Any) -> None:
            assert not self.lock.held
            try:
                await send(message)
            finally:
                assert not self.lock.held

        assert not self.lock.held
        await self.app(scope, receiving, sending)

    def decide(self, name: str, connection: Connection) -> Outcome:
        self.tell(name)
        decision = self.decides.get(name)
        return Outcome.HERE if decision is None else decision(connection)

    def waited_too_long(self, connection: Connection) -> None:
        self.tell("waited_too_long")
        connection.answer_unavailable()

    def started(self, connection: Connection, exchange: Exchange) -> None:
        self.tell("started")

    def response_begun(self, connection: Connection, exchange: Exchange) -> None:
        self.tell("response_begun")

    def finished(self, connection: Connection, exchange: Exchange, reason: EndReason) -> None:
        self.tell("finished", reason)

    def returned(self, exchange: Exchange) -> None:
        self.tell("returned")

    def report_app_error(self, exchange: Exchange, error: BaseException | None) -> None:
        self.tell("report_app_error", error)

    def refused(self, connection: Connection, error: ClientError, cause: EndReason) -> None:
        self.tell("refused", cause)

    def proxy_refused(self, connection: Connection, why: str) -> None:
        self.tell("proxy_refused", why)

    def closed(self, connection: Connection, reason: EndReason) -> None:
        self.tell("closed", reason)


async def unused(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("it is not called")


class Served:
    """A connection of a host in memory, its client's end, and the moves it made."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, app: Application, config: Config, *, proxied: bool
    ) -> None:
        ours, self.client = socket.socketpair()
        for end in (ours, self.client):
            end.setblocking(False)
        self.loop = loop
        self.host = FakeHost(loop, app, config)
        origin = Origin(client=("192.0.2.1", 1), server=None, accepted_at=0.0, proxy_header=proxied)
        with self.host.turn:
            conn = CheckedConn(ours, loop, origin)
            if not is_compiled():
                setattr(conn, "owner", self.host)  # noqa: B010  # which is there for its check alone
            self.connection = self.host.connection = CheckedConnection(conn, self.host)
        self.got = b""

    @property
    def state(self) -> State:
        return self.connection.state

    def start(self) -> None:
        with self.host.turn:
            self.connection.start()

    def say(self, data: bytes) -> None:
        self.client.sendall(data)

    def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until it is so."""

        async def turn() -> None:
            async with asyncio.timeout(DEADLINE):
                while not condition():  # noqa: ASYNC110  # whatever it is, nothing tells
                    await asyncio.sleep(0.001)

        self.loop.run_until_complete(turn())

    def reach(self, state: State) -> None:
        self.until(lambda: self.state is state)

    def read(self) -> bytes:
        """What the client has received by now."""
        with contextlib.suppress(BlockingIOError):
            self.got += self.client.recv(1 << 20)
        return self.got

    def hear(self, expected: bytes) -> bytes:
        """What the client has received, once `expected` is in it."""
        self.until(lambda: expected in self.read())
        return self.got

    def too_late(self) -> None:
        """The deadline of the present state is over."""
        with self.host.turn:
            self.connection.check(self.connection.deadline)

    def move(self, event: Event) -> None:
        with self.host.turn:
            self.connection.move(event)


@contextlib.contextmanager
def serving(
    app: Application = unused, *, proxied: bool = False, started: bool = True, **options: Any
) -> Iterator[Served]:
    loop = new_loop("asyncio")
    served = Served(loop, app, Config(access_log=False, **options), proxied=proxied)
    try:
        with served.client:
            if started:
                served.start()
            yield served
            with served.host.turn:
                served.connection.close(EndReason.DRAINED)
            served.until(lambda: len(asyncio.all_tasks(loop)) <= 1)
    finally:
        loop.close()
