"""Typed requests, notifications and handlers for the tables of methods."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from hsrv.rpc.dispatcher import Context, Dispatcher, OnProgress, OnRequest
from hsrv.rpc.messages import ErrorCode, RpcError
from hsrv.rpc.methods import Method, P, R

Handler = Callable[[Context, Any], Awaitable[Any]]


async def call(
    dispatcher: Dispatcher,
    method: Method[P, R],
    params: P,
    *,
    timeout: float | None,
    on_progress: OnProgress | None = None,
) -> R:
    """Send a request to the peer. Raises RpcError (see `Dispatcher.send_raw_request`), also for a result of the wrong
    shape."""
    result = await dispatcher.send_raw_request(
        method.name, msgspec.to_builtins(params), timeout=timeout, on_progress=on_progress
    )
    try:
        return msgspec.convert(result, method.result)
    except msgspec.ValidationError as error:
        raise RpcError(ErrorCode.INTERNAL, f"{method.name}: {error}") from error


async def notify(dispatcher: Dispatcher, method: Method[P, R], params: P) -> None:
    """Send a notification to the peer."""
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
