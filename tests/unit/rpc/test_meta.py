"""One story in several processes' logs: the sender's context under `_meta`."""

from typing import Any

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from hsrv.ipc.messages import Trace
from hsrv.logs.logging import current_trace
from hsrv.rpc.dispatcher import Context
from hsrv.rpc.meta import MAX_FIELDS, MAX_TEXT, enter, meta_of, with_meta
from tests.unit.rpc.conftest import MakeBoth

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio-socket"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_log_context_and_trace_reach_the_handler_in_another_process(both: MakeBoth) -> None:
    heard: list[Any] = []

    async def handler(context: Context, method: str, params: Any) -> Any:
        heard.append((get_contextvars(), current_trace.get()))

    async with both(handler) as (left, _):
        with bound_contextvars(reload_id="r1"):
            await left.send_raw_request("x", {"a": 1})
        token = current_trace.set(Trace(request_id="q1", traceparent="00-1"))
        await left.send_raw_request("x")
        current_trace.reset(token)
        await left.send_raw_request("x")
    assert heard == [
        ({"reload_id": "r1"}, None),
        ({}, Trace(request_id="q1", traceparent="00-1")),
        ({}, None),
    ]


async def test_it_goes_on_to_whom_the_handler_asks(both: MakeBoth) -> None:
    async def relay(context: Context, method: str, params: Any) -> Any:
        return await context.request("inner", {})

    async def last(context: Context, method: str, params: Any) -> Any:
        return get_contextvars()

    async with both(relay, last) as (left, _):
        with bound_contextvars(reload_id="r2"):
            assert await left.send_raw_request("outer") == {"reload_id": "r2"}


async def test_only_objects_can_carry_it() -> None:
    with bound_contextvars(reload_id="r1"):
        assert with_meta([1]) == [1]
        assert with_meta(None) == {"_meta": {"log": {"reload_id": "r1"}}}
    assert with_meta(None) is None
    assert with_meta({"a": 1}) == {"a": 1}


async def test_values_that_are_no_json_go_as_text() -> None:
    with bound_contextvars(path=object):
        assert with_meta({})["_meta"]["log"] == {"path": str(object)}


@pytest.mark.parametrize("params", [None, [], {"_meta": 5}, {"_meta": {"log": 5, "request_id": 7}}])
async def test_nonsense_is_nothing(params: Any) -> None:
    enter(meta_of(params))
    assert get_contextvars() == {}
    assert current_trace.get() is None


async def test_a_peer_can_not_blow_up_every_line() -> None:
    enter({"log": {f"name{n}": "v" * 1000 for n in range(100)}, "request_id": "i" * 1000})
    assert len(get_contextvars()) == MAX_FIELDS
    assert {len(value) for value in get_contextvars().values()} == {MAX_TEXT}
    trace = current_trace.get()
    assert trace is not None
    assert len(trace.request_id) == MAX_TEXT
