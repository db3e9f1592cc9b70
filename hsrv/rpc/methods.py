"""Who may ask whom for what: one table for both ends and for the documentation."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from hsrv.rpc.dispatcher import Context, Dispatcher, OnRequest
from hsrv.rpc.messages import ErrorCode, RpcError

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


class Empty(msgspec.Struct, frozen=True):
    """No parameters, or no result."""


class DrainParams(msgspec.Struct, frozen=True, kw_only=True):
    graceful_timeout: float
    """Seconds for requests."""
    stream_grace: float
    """Seconds for streams."""
    adopt: bool = False
    """Whether connections between two requests move to other workers; otherwise they are closed."""


class ReadyParams(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    lifespan: bool
    """Whether the application supports lifespan."""


class FailedParams(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    """"import" or "lifespan"."""
    message: str
    traceback: str


class LearnedParams(msgspec.Struct, frozen=True, kw_only=True):
    patterns: list[str]


class PoolAvailableParams(msgspec.Struct, frozen=True, kw_only=True):
    available: bool


class Method(Generic[P, R]):
    """A request or notification: its name, and what goes there and back."""

    def __init__(self, name: str, params: type[P], result: type[R], doc: str) -> None:
        self.name = name
        self.params = params
        self.result = result
        self.doc = doc


SERVE: Final = Method("serve", Empty, Empty, "supervisor to child: begin to accept or receive")
ANNOUNCE_CLOSE: Final = Method(
    "announce_close", Empty, Empty, "supervisor to child: say Connection: close from now on"
)
DRAIN: Final = Method("drain", DrainParams, Empty, "supervisor to child: finish and exit; answered at once")
FINISH: Final = Method("finish", Empty, Empty, "supervisor to pool: no more handoffs will come")
LEARNED: Final = Method("learned", LearnedParams, Empty, "both ways: paths that turned out to be streams")
POOL_AVAILABLE: Final = Method(
    "pool_available", PoolAvailableParams, Empty, "supervisor to worker: a pool takes streams"
)
READY: Final = Method("ready", ReadyParams, Empty, "child to supervisor: lifespan startup is complete")
FAILED: Final = Method(
    "failed", FailedParams, Empty, "child to supervisor: the application could not be started"
)

Handler = Callable[[Context, Any], Awaitable[Any]]


async def call(dispatcher: Dispatcher, method: Method[P, R], params: P, *, timeout: float | None) -> R:
    """Ask the peer. Raises RpcError (see `Dispatcher.send_raw_request`), also for a result of the wrong shape."""
    result = await dispatcher.send_raw_request(method.name, msgspec.to_builtins(params), timeout=timeout)
    try:
        return msgspec.convert(result, method.result)
    except msgspec.ValidationError as error:
        raise RpcError(ErrorCode.INTERNAL, f"{method.name}: {error}") from error


async def notify(dispatcher: Dispatcher, method: Method[P, R], params: P) -> None:
    """Tell the peer."""
    await dispatcher.notify(method.name, msgspec.to_builtins(params))


def handlers(table: Mapping[Method[Any, Any], Handler]) -> OnRequest:
    """The callback of `Dispatcher.run`, for requests and notifications, that serves these methods."""
    by_name = {method.name: (method, handler) for method, handler in table.items()}

    async def handle(context: Context, name: str, params: Any) -> Any:
        if name not in by_name:
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, f"no method {name!r}")
        method, handler = by_name[name]
        try:
            typed = msgspec.convert(params if params is not None else {}, method.params)
        except msgspec.ValidationError as error:
            raise RpcError(ErrorCode.INVALID_PARAMS, f"{name}: {error}") from error
        result = await handler(context, typed)
        return msgspec.to_builtins(result) if isinstance(result, msgspec.Struct) else {}

    return handle
