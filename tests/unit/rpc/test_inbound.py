"""What the peer asks: cancelled, too much at once, with a way back, in the context of its sender."""

from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from hsrv.rpc import inbound
from hsrv.rpc.dispatcher import CANCEL, PROGRESS, Context
from hsrv.rpc.messages import ErrorCode, RpcError, notification, request
from tests.unit.rpc.conftest import DEADLINE, MakeBoth, MakePeer, echo
from tests.unit.rpc.peers import Waiting, forever, turns, wedge

pytestmark = pytest.mark.anyio

speaker: ContextVar[str] = ContextVar("speaker", default="nobody")


# cancellation


async def test_a_cancelled_request_is_never_answered(with_peer: MakePeer) -> None:
    waiting = Waiting()
    async with with_peer(waiting) as (_, peer):
        await peer.say(request(1, "wait", None))
        await waiting.begun.wait()
        await peer.say(notification(CANCEL, {"id": 1}))
        await waiting.ended.wait()
        assert waiting.context is not None
        assert waiting.context.cancel_requested.is_set()
        await peer.say(request(2, "next", None))
        assert (await peer.next()).id == 2


async def test_a_handler_that_returns_in_spite_of_its_cancellation_is_not_answered(
    with_peer: MakePeer,
) -> None:
    waiting = Waiting()

    async def stubborn(context: Context, method: str, params: Any) -> Any:
        with anyio.CancelScope(shield=True):
            waiting.begun.set()
            await context.cancel_requested.wait()
        return method

    async with with_peer(lambda *args: (stubborn if args[1] == "wait" else echo)(*args)) as (_, peer):
        await peer.say(request(1, "wait", None))
        await waiting.begun.wait()
        await peer.say(notification(CANCEL, {"id": 1}))
        await peer.say(request(2, "next", None))
        assert (await peer.next()).id == 2


async def test_cancels_of_what_is_not_there_are_harmless(with_peer: MakePeer) -> None:
    async with with_peer() as (left, peer):
        nonsense: list[Any] = [{"id": 5}, {"id": None}, {"id": [1]}, {}, [], None, "1"]
        for params in nonsense:
            await peer.say(notification(CANCEL, params))
        await peer.say(request(1, "x", None))
        assert (await peer.next()).id == 1
        await peer.say(notification(CANCEL, {"id": 1}))  # late
        await peer.say(request(2, "x", None))
        assert (await peer.next()).id == 2
        assert left.invalid == 0


async def test_a_timeout_tells_the_peer(with_peer: MakePeer) -> None:
    async with with_peer() as (left, peer):
        with pytest.raises(RpcError, match="slow: no answer within") as raised:
            await left.send_raw_request("slow", timeout=0.01)
        assert raised.value.code == ErrorCode.TIMEOUT
        asked, cancel = await peer.next(), await peer.next()
        assert (cancel.method, cancel.params) == (CANCEL, {"id": asked.id})


async def test_a_cancelled_caller_tells_the_peer(with_peer: MakePeer) -> None:
    async with with_peer() as (left, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(left.send_raw_request, "slow")
            asked = await peer.next()
            tasks.cancel_scope.cancel()
        cancel = await peer.next()
        assert (cancel.method, cancel.params) == (CANCEL, {"id": asked.id})


# floods


async def test_a_flood_of_requests_is_refused_beyond_the_limit(
    with_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "MAX_INBOUND", 3)
    async with with_peer(forever) as (_, peer):
        for number in range(5):
            await peer.say(request(number, "x", None))
        refused = [await peer.next(), await peer.next()]
        assert {answer.id for answer in refused} == {3, 4}
        assert {answer.error.code for answer in refused if answer.error is not None} == {ErrorCode.BUSY}


async def test_a_flood_of_notifications_is_dropped_beyond_the_limit(
    with_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "MAX_NOTIFICATIONS", 3)
    running = []

    async def handler(context: Context, method: str, params: Any) -> Any:
        running.append(params)
        await anyio.sleep_forever()

    async with with_peer(echo, handler) as (_, peer):
        for number in range(50):
            await peer.say(notification("x", number))
        await peer.say(request("after", "x", None))
        assert (await peer.next()).id == "after"
        assert running == [0, 1, 2]


async def test_a_flood_from_who_reads_no_refusals_piles_up_nothing(
    with_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "MAX_INBOUND", 1)
    monkeypatch.setattr(inbound, "MAX_REFUSALS", 2)
    async with with_peer(forever) as (left, peer):
        await wedge(left)
        with capture_logs() as logs:
            for number in range(20):
                await peer.say(request(number, "x", None))
            await turns(lambda: [entry for entry in logs if entry.get("count") == 16])
        assert {entry["why"] for entry in logs} == {"too many requests in flight"}


# the back channel


async def test_progress_reaches_the_caller_that_asked(both: MakeBoth) -> None:
    async def handler(context: Context, method: str, params: Any) -> Any:
        await context.progress("halfway", percent=50)
        await context.progress("nearly")
        return "done"

    async with both(handler) as (left, _):
        steps: list[Any] = []

        def note(params: dict[str, Any]) -> None:
            steps.append((params["step"], params.get("percent")))
            raise ValueError("costs itself")

        assert await left.send_raw_request("work", on_progress=note) == "done"
        assert await left.send_raw_request("work") == "done"
        assert steps == [("halfway", 50), ("nearly", None)]


async def test_progress_for_nobody_is_dropped(with_peer: MakePeer) -> None:
    async with with_peer() as (left, peer):
        nonsense: list[Any] = [{"id": 3, "step": "x"}, {"id": True}, None, []]
        for params in nonsense:
            await peer.say(notification(PROGRESS, params))
        await peer.say(request(1, "x", None))
        assert (await peer.next()).id == 1
        assert left.invalid == 0


async def test_a_handler_can_ask_back(both: MakeBoth) -> None:
    async def handler(context: Context, method: str, params: Any) -> Any:
        return await context.request("who", timeout=DEADLINE)

    async def name(context: Context, method: str, params: Any) -> Any:
        return "left"

    async with both(handler, name) as (left, _):
        assert await left.send_raw_request("x") == "left"


async def test_the_back_channel_closes_when_the_handler_returns(both: MakeBoth) -> None:
    kept: list[Context] = []

    async def handler(context: Context, method: str, params: Any) -> Any:
        kept.append(context)

    async with both(handler) as (left, _):
        await left.send_raw_request("work")
        await left.notify("work")
        await turns(lambda: len(kept) == 2)
        for context in kept:
            with pytest.raises(RuntimeError, match="returned"):
                await context.notify("too late")
            with pytest.raises(RuntimeError, match="returned"):
                await context.request("too late")


async def test_a_result_that_is_no_json_is_an_error_of_its_request(both: MakeBoth, kind: str) -> None:
    if kind.endswith("memory"):
        pytest.skip("memory streams carry what a line can't")

    async def handler(context: Context, method: str, params: Any) -> Any:
        return object() if method == "odd" else method

    async with both(handler) as (left, _):
        with pytest.raises(RpcError, match="not JSON") as raised:
            await left.send_raw_request("odd")
        assert raised.value.code == ErrorCode.INTERNAL
        with pytest.raises(TypeError):
            await left.notify("x", object())
        assert await left.send_raw_request("fine") == "fine"


# context


async def test_the_senders_context_variables_reach_the_handler(both: MakeBoth, kind: str) -> None:
    async def handler(context: Context, method: str, params: Any) -> Any:
        heard.append(speaker.get())
        speaker.set("the handler")
        return speaker.get()

    heard: list[str] = []
    async with both(handler) as (left, _):
        speaker.set("the caller")
        await left.send_raw_request("x")
        await left.notify("x")
        await turns(lambda: len(heard) == 2)
        assert set(heard) == {"nobody" if kind.endswith("socket") else "the caller"}
        assert speaker.get() == "the caller"
