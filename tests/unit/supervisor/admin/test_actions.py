"""Commands by HTTP: parameters, answers and errors."""

import json
from typing import Any

import anyio
import pytest

from hsrv.rpc import operator
from hsrv.rpc.dispatcher import Context
from hsrv.rpc.messages import ErrorCode, RpcError
from hsrv.supervisor.admin import actions
from hsrv.supervisor.admin.actions import action_routes
from hsrv.supervisor.admin.http.route import Request, Response

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Desk:
    """Answers what it was asked."""

    error: RpcError | None = None
    seconds = 0.0

    def table(self) -> dict[Any, Any]:
        return dict.fromkeys((operator.RELOAD, operator.SCALE, operator.STACKS), self._answer)

    async def _answer(self, context: Context, params: Any) -> Any:
        await context.progress("a step that nobody hears")
        await anyio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return params


async def post(desk: Desk, path: str, body: bytes = b"") -> tuple[int, Any]:
    route = action_routes(desk)[path]
    response = await route.handler(Request(method="POST", path=path, body=body))
    assert isinstance(response, Response)
    return response.status, json.loads(response.body)


def test_each_changes_something_and_is_a_post() -> None:
    routes = action_routes(Desk())
    assert list(routes) == ["/reload", "/scale", "/stacks"]
    assert all(route.writes and route.methods == ("POST",) and not route.public for route in routes.values())


async def test_parameters_are_those_of_the_method_and_none_are_the_defaults() -> None:
    assert await post(Desk(), "/scale", b'{"step": 1}') == (200, {"workers": None, "step": 1})
    assert await post(Desk(), "/reload") == (200, {"wait": False})


@pytest.mark.parametrize("body", [b"{", b'{"step": "x"}', b"[]", b"\xff"])
async def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    status, said = await post(Desk(), "/scale", body)
    assert status == 400
    assert said["error"]


@pytest.mark.parametrize(("code", "status"), [(ErrorCode.REFUSED, 409), (ErrorCode.FAILED, 500)])
async def test_an_error_is_answered_with_its_details(code: int, status: int) -> None:
    desk = Desk()
    desk.error = RpcError(code, "why", {"traceback": "Traceback"})
    assert await post(desk, "/reload") == (status, {"error": "why", "traceback": "Traceback"})


async def test_what_takes_longer_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "ANSWER_WITHIN", 0.01)
    desk = Desk()
    desk.seconds = 60
    assert await post(desk, "/reload") == (202, {"pending": "reload goes on"})
