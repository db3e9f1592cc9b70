"""The dispatcher's contract, sentence by sentence: over sockets and memory streams, on asyncio and trio."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from hsrv.rpc import dispatcher as module
from hsrv.rpc import inbound
from hsrv.rpc.dispatcher import CANCEL, Context, Dispatcher
from hsrv.rpc.messages import ErrorCode, Message, RpcError, notification, request, response
from tests.unit.rpc.conftest import DEADLINE, MakeBoth, MakePair, MakePeer, Peer, echo
from tests.unit.rpc.peers import BIG, Waiting, half_close, turns, wedge

pytestmark = pytest.mark.anyio


# requests


async def test_a_request_gets_its_result(both: MakeBoth) -> None:
    async with both() as (left, right):
        assert await left.send_raw_request("x", {"a": 1}) == {"method": "x", "params": {"a": 1}}
        assert await right.send_raw_request("back") == {"method": "back", "params": None}


async def test_a_raising_handler_costs_its_own_request_only(both: MakeBoth) -> None:
    async def handler(context: Context, method: str, params: Any) -> Any:
        if method == "raise":
            raise ValueError("mine")
        if method == "refuse":
            raise RpcError(ErrorCode.REFUSED, "no", {"why": "tired"})
        return method

    async with both(handler) as (left, _):
        with pytest.raises(RpcError, match="ValueError: mine") as raised:
            await left.send_raw_request("raise")
        assert raised.value.code == ErrorCode.INTERNAL
        with pytest.raises(RpcError) as refused:
            await left.send_raw_request("refuse")
        assert (refused.value.code, refused.value.data) == (ErrorCode.REFUSED, {"why": "tired"})
        await left.notify("raise")
        assert await left.send_raw_request("fine") == "fine"


async def test_a_handler_that_raises_before_it_is_awaited_costs_its_own_message_only(
    with_peer: MakePeer,
) -> None:
    def builder(context: Context, method: str, params: Any) -> Any:
        if method == "raise":
            raise ZeroDivisionError
        return echo(context, method, params)

    async with with_peer(builder) as (_, peer):
        await peer.say(notification("raise", None))
        await peer.say(request(1, "raise", None))
        await peer.say(request(2, "fine", None))
        answers = {answer.id: answer for answer in [await peer.next(), await peer.next()]}
        assert answers[1].error is not None
        assert answers[2].result == {"method": "fine", "params": None}


async def test_out_of_order_responses_correlate(both: MakeBoth) -> None:
    gates = {name: anyio.Event() for name in ("first", "second")}

    async def handler(context: Context, method: str, params: Any) -> Any:
        await gates[method].wait()
        return method

    async with both(handler) as (left, _), anyio.create_task_group() as tasks:
        answers: list[tuple[str, str]] = []

        async def ask(name: str) -> None:
            answers.append((name, await left.send_raw_request(name)))

        tasks.start_soon(ask, "first")
        tasks.start_soon(ask, "second")
        gates["second"].set()
        await turns(lambda: answers)
        gates["first"].set()
        await turns(lambda: len(answers) == 2)
        assert answers == [("second", "second"), ("first", "first")]


async def test_a_slow_handler_does_not_hold_up_the_others(both: MakeBoth) -> None:
    waiting = Waiting()
    async with both(waiting) as (left, _), anyio.create_task_group() as tasks:
        tasks.start_soon(left.send_raw_request, "wait")
        await waiting.begun.wait()
        assert await left.send_raw_request("quick") == "quick"
        tasks.cancel_scope.cancel()


async def test_late_and_unknown_responses_are_dropped(with_peer: MakePeer) -> None:
    async with with_peer() as (left, peer):
        with pytest.raises(RpcError) as raised:
            await left.send_raw_request("slow", timeout=0.01)
        assert raised.value.code == ErrorCode.TIMEOUT
        asked = await peer.next()
        assert asked.id is not None
        assert (await peer.next()).method == CANCEL
        await peer.say(response(asked.id, "late"))
        await peer.say(response(99, "unknown"))
        await peer.say(response("99", "unknown"))
        await peer.say(request("alive", "x", None))
        assert (await peer.next()).id == "alive"


async def test_only_the_first_answer_counts(with_peer: MakePeer) -> None:
    async with with_peer() as (left, peer), anyio.create_task_group() as tasks:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await left.send_raw_request("x"))

        tasks.start_soon(ask)
        asked = await peer.next()
        assert asked.id is not None
        for result in ("first", "second"):
            await peer.say(response(asked.id, result))
        await turns(lambda: answers)
        assert answers == ["first"]


# ids


async def test_ids_are_texts_or_whole_numbers_and_in_use_only_once(with_peer: MakePeer) -> None:
    waiting = Waiting()
    async with with_peer(waiting) as (left, peer):
        await peer.say(request(7, "wait", None))
        await waiting.begun.wait()
        await peer.say(request(7, "again", None))
        await peer.say(request("7", "text", None))
        await peer.say(request(-(2**40), "negative", None))
        await peer.say(request("", "empty", None))
        answers = [await peer.next() for _ in range(3)]
        assert {(answer.id, answer.result) for answer in answers} == {
            ("7", "text"),
            (-(2**40), "negative"),
            ("", "empty"),
        }
        assert left.invalid == 1, "the duplicate gets no answer that could be taken for the other's"


async def test_an_id_may_be_used_again_after_its_answer(with_peer: MakePeer) -> None:
    async with with_peer() as (left, peer):
        for method in ("first", "second"):
            await peer.say(request(1, method, None))
            assert (await peer.next()).result["method"] == method
        assert left.invalid == 0


async def test_a_boolean_is_no_id(with_peer: MakePeer) -> None:
    """To Python True is 1: it must neither ask, nor answer or cancel request 1."""
    waiting = Waiting()
    async with with_peer(waiting) as (left, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(left.send_raw_request, "anything")
        assert (await peer.next()).id == 1
        await peer.say(request(1, "wait", None))
        await waiting.begun.wait()
        await peer.say(notification(CANCEL, {"id": True}))
        for message in (
            Message(jsonrpc="2.0", id=True, method="x"),
            Message(jsonrpc="2.0", id=True, result="x"),
        ):
            await peer.say(message)
        await turns(lambda: left.invalid == 2)
        assert not waiting.ended.is_set()
        assert left._waiting[1].done.is_set() is False
        tasks.cancel_scope.cancel()


# the end


async def test_the_end_of_the_stream_wakes_every_waiter_and_cancels_handlers(make_pair: MakePair) -> None:
    near, far = make_pair()
    dispatcher, peer, waiting = Dispatcher(*near), Peer(far), Waiting()
    outcomes: list[int] = []

    async def ask() -> None:
        try:
            await dispatcher.send_raw_request("anything")
        except RpcError as error:
            outcomes.append(error.code)

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(dispatcher.run, waiting, waiting)
            for _ in range(3):
                tasks.start_soon(ask)
            await peer.say(request(1, "wait", None))
            await waiting.begun.wait()
            for _ in range(3):
                await peer.next()
            await peer.close()
    assert outcomes == [ErrorCode.CONNECTION_CLOSED] * 3
    assert waiting.ended.is_set()
    assert waiting.context is not None
    assert not waiting.context.cancel_requested.is_set(), "nobody asked for it"


async def test_after_the_end_requests_fail_notifications_are_silent_and_nothing_runs_again(
    make_pair: MakePair,
) -> None:
    near, far = make_pair()
    dispatcher = Dispatcher(*near)
    await Peer(far).close()
    with anyio.fail_after(DEADLINE):
        await dispatcher.run(echo, echo)
    with pytest.raises(RpcError) as late:
        await dispatcher.send_raw_request("too late")
    assert late.value.code == ErrorCode.CONNECTION_CLOSED
    with capture_logs() as logs:
        await dispatcher.notify("also too late")
    assert [entry["log_level"] for entry in logs] == ["debug"]
    with pytest.raises(RuntimeError, match="once"):
        await dispatcher.run(echo, echo)


async def test_run_is_single_shot_also_while_it_runs(both: MakeBoth) -> None:
    async with both() as (left, _):
        with pytest.raises(RuntimeError, match="once"):
            await left.run(echo, echo)
        assert await left.send_raw_request("x")


async def test_before_run_requests_are_a_runtime_error(make_pair: MakePair) -> None:
    near, far = make_pair()
    with pytest.raises(RuntimeError, match="run"):
        await Dispatcher(*near).send_raw_request("too early")
    for streams in (near, far):
        await Peer(streams).close()


async def test_what_handlers_write_while_they_end_lands_before_the_write_side_closes(
    make_pair: MakePair,
) -> None:
    near, far = make_pair()
    begun = anyio.Event()

    async def handler(context: Context, method: str, params: Any) -> Any:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await context.notify("last words", {"of": method})

    dispatcher, peer = Dispatcher(*near), Peer(far)
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.run, handler, handler)
            await peer.say(request(1, "work", None))
            await begun.wait()
            await half_close(peer)
            last_words, answer = await peer.next(), await peer.next()
        assert (last_words.method, last_words.params) == ("last words", {"of": "work"})
        assert answer.id == 1
        assert answer.error is not None
        assert answer.error.code == ErrorCode.CONNECTION_CLOSED
        with pytest.raises(anyio.EndOfStream):
            await peer.read.receive()
    await peer.close()


async def test_a_cancelled_run_ends_everything_as_well(make_pair: MakePair) -> None:
    near, far = make_pair()
    dispatcher, waiting, peer = Dispatcher(*near), Waiting(), Peer(far)
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(dispatcher.run, waiting, waiting)
            await peer.say(request(1, "wait", None))
            await waiting.begun.wait()
            tasks.cancel_scope.cancel()
    assert waiting.ended.is_set()
    with pytest.raises(RpcError):
        await dispatcher.send_raw_request("x")
    await peer.close()


# a peer that doesn't read


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in (
        (module, "COURTESY_CANCEL_TIMEOUT"),
        (module, "WRITE_TIMEOUT"),
        (inbound, "FINAL_WRITE_TIMEOUT"),
        (module, "FINAL_WRITE_TIMEOUT"),
    ):
        monkeypatch.setattr(owner, name, 0.05)


async def test_timeout_cancel_and_notification_are_bounded_when_the_pipe_is_wedged(
    with_peer: MakePeer, impatient: None
) -> None:
    async with with_peer() as (left, _):
        await wedge(left)
        with pytest.raises(RpcError) as raised:
            await left.send_raw_request("x", timeout=0.02)
        assert raised.value.code == ErrorCode.TIMEOUT
        with pytest.raises(RpcError) as gone:
            await left.send_raw_request("x")
        assert gone.value.code == ErrorCode.CONNECTION_CLOSED
        await left.notify("x")
        with anyio.move_on_after(0.02) as scope:
            await left.send_raw_request("x")
        assert scope.cancelled_caught or scope.cancel_called


async def test_a_courtesy_cancel_has_a_bound_of_its_own(
    with_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COURTESY_CANCEL_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "WRITE_TIMEOUT", DEADLINE * 10)
    async with with_peer() as (left, _):
        await wedge(left)
        with pytest.raises(RpcError, match="no answer"):
            await left.send_raw_request("x", timeout=0.02)


async def test_the_end_is_bounded_when_answers_are_wedged(
    make_pair: MakePair, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_TIMEOUT", DEADLINE * 10)
    near, far = make_pair()
    dispatcher, peer = Dispatcher(*near), Peer(far)
    asked = anyio.Event()

    async def big(context: Context, method: str, params: Any) -> Any:
        asked.set()
        return BIG

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(dispatcher.run, big, big)
            await wedge(dispatcher)
            await peer.say(request(1, "x", None))
            await asked.wait()
            await half_close(peer)
    await peer.close()


async def test_an_answer_that_waits_to_be_written_is_withdrawn_by_a_cancel(with_peer: MakePeer) -> None:
    handled = anyio.Event()

    async def handler(context: Context, method: str, params: Any) -> Any:
        handled.set()
        return method

    async with with_peer(handler) as (left, peer):
        await wedge(left)
        await peer.say(request(1, "x", None))
        await handled.wait()
        await peer.say(notification(CANCEL, {"id": 1}))
        await peer.say(request("probe", "x", None))
        await anyio.wait_all_tasks_blocked()
        ids = []
        while "probe" not in ids:
            ids.append((await peer.next()).id)
        assert 1 not in ids


async def test_a_line_whose_sender_gave_up_halfway_spoils_nothing(with_peer: MakePeer) -> None:
    async with with_peer() as (left, peer), anyio.create_task_group() as tasks:
        await wedge(left)
        tasks.start_soon(left.notify, "after", {"fine": True})
        while (message := await peer.next()).method != "after":
            assert message.params["data"] == BIG
        assert message.params == {"fine": True}
