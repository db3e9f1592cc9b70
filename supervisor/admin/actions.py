"""Commands over HTTP: reload, scale, stacks, with the same parameters as for operators.

Only with --admin-write and the token (`guard`). A browser sends the token only in requests of our own page: there is no
cookie that a foreign page could use.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import msgspec

from hsrv.logs.logging import get_logger
from hsrv.rpc import operator
from hsrv.rpc.credentials import Credentials
from hsrv.rpc.inbound import Context
from hsrv.rpc.messages import ErrorCode, Message, RpcError
from hsrv.rpc.methods import Method
from hsrv.supervisor.admin.http.route import AdminRoute, Request, Response, json_response, problem
from hsrv.supervisor.operators.operator import Desk

ANSWER_WITHIN: Final = 20.0
"""Seconds to wait for the result. A command that takes longer goes on, and the events report its end."""

PATHS: Final[Mapping[str, Method[Any, Any]]] = {
    "/reload": operator.RELOAD,
    "/scale": operator.SCALE,
    "/stacks": operator.STACKS,
}

log = get_logger("hsrv.supervisor")


class _NoProgress:
    """In place of an operator's connection: steps are dropped."""

    name = "admin"
    credentials: Credentials | None = None

    async def send(self, message: Message) -> None:
        """Dropped."""

    async def notify(self, method: str, params: Any = None) -> None:
        """Dropped."""

    async def send_raw_request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        raise RpcError(ErrorCode.METHOD_NOT_FOUND, "an HTTP client can't be asked")


def action_routes(desk: Desk) -> dict[str, AdminRoute]:
    """The routes: POST, with the parameters as a JSON object."""
    table = desk.table()

    def route(method: Method[Any, Any]) -> AdminRoute:
        async def handle(request: Request) -> Response:
            return await _answer(method, table[method], request)

        return AdminRoute(handle, methods=("POST",), writes=True)

    return {path: route(method) for path, method in PATHS.items()}


async def _answer(method: Method[Any, Any], handler: Callable[..., Any], request: Request) -> Response:
    try:
        params = msgspec.json.decode(request.body or b"{}", type=method.params)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return problem(400, str(error))
    log.info("asked by HTTP", method=method.name, params=msgspec.to_builtins(params))
    try:
        with anyio.fail_after(ANSWER_WITHIN):
            result = await handler(Context(_NoProgress(), None, {}), params)
    except TimeoutError:
        return json_response({"pending": f"{method.name} goes on"}, 202)
    except RpcError as error:
        return _failed(error)
    return json_response(result)


def _failed(error: RpcError) -> Response:
    details: Mapping[str, Any] = error.data if isinstance(error.data, dict) else {}
    status = 409 if error.code == ErrorCode.REFUSED else 500
    return json_response({"error": error.message, **details}, status)
