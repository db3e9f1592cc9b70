"""The dispatcher's contract, sentence by sentence, over real socket pairs."""

import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hsrv.rpc import dispatcher as module
from hsrv.rpc.dispatcher import CANCEL, Context, Dispatcher
from hsrv.rpc.framing import LINE_LIMIT, socket_streams
from hsrv.rpc.messages import ErrorCode, RpcError, decode, encode, request

pytestmark = pytest.mark.anyio
DEADLINE = 10.0

Handler = Callable[[Context, str, Any], Awaitable[Any]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo(context: Context, method: str, params: Any) -> Any:
    return {"method": method, "params": params}


async def forever(context: Context, method: str, params: Any) -> Any:
    await anyio.sleep_forever()


@asynccontextmanager
async def running(near: socket.socket, handler: Handler = echo) -> AsyncIterator[Dispatcher]:
    """A dispatcher that runs on one end of a pair."""
    dispatcher = Dispatcher(*socket_streams(near))
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(dispatcher.run, handler, handler)
            yield dispatcher
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def pair(handler: Handler = echo) -> AsyncIterator[tuple[Dispatcher, Dispatcher]]:
    near, far = socket.socketpair()
    async with running(near) as left, running(far, handler) as right:
        yield left, right


class Peer:
    """The other end by hand: lines in and out."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.read, self.write = socket_streams(sock)

    async def next(self) -> Any:
        with anyio.fail_after(DEADLINE):
            return await self.read.receive()

    def raw(self, data: bytes) -> None:
        self.sock.send(data)


async def test_a_request_is_answered_and_a_raising_handler_costs_its_own_request_only() -> None:
    async def handler(context: Context, method: str, params: Any) -> Any:
        if method == "raise":
            raise ValueError("mine")
        if method == "refuse":
            raise RpcError(ErrorCode.REFUSED, "no", {"why": "tired"})
        return await echo(context, method, params)

    async with pair(handler) as (left, _):
        with pytest.raises(RpcError, match="ValueError: mine") as raised:
            await left.send_raw_request("raise")
        assert raised.value.code == ErrorCode.INTERNAL
        with pytest.raises(RpcError) as refused:
            await left.send_raw_request("refuse")
        assert (refused.value.code, refused.value.data) == (ErrorCode.REFUSED, {"why": "tired"})
        assert await left.send_raw_request("fine", {"a": 1}) == {"method": "fine", "params": {"a": 1}}


async def test_out_of_order_responses_correlate() -> None:
    gates = {name: anyio.Event() for name in ("first", "second")}

    async def handler(context: Context, method: str, params: Any) -> Any:
        await gates[method].wait()
        return method

    async with pair(handler) as (left, _), anyio.create_task_group() as tasks:
        answers: list[str] = []

        async def ask(name: str) -> None:
            answers.append(await left.send_raw_request(name))

        tasks.start_soon(ask, "first")
        tasks.start_soon(ask, "second")
        gates["second"].set()
        while not answers:  # turns of the loop
            await anyio.lowlevel.checkpoint()
        gates["first"].set()
        while len(answers) < 2:  # turns of the loop
            await anyio.lowlevel.checkpoint()
        assert answers == ["second", "first"]


async def test_end_of_file_wakes_every_waiter_and_cancels_handlers() -> None:
    near, far = socket.socketpair()
    cancelled = anyio.Event()

    async def handler(context: Context, method: str, params: Any) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    dispatcher = Dispatcher(*socket_streams(near))
    peer = Peer(far)
    outcomes: list[int] = []

    async def ask() -> None:
        try:
            await dispatcher.send_raw_request("anything")
        except RpcError as error:
            outcomes.append(error.code)

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(dispatcher.run, handler, handler)
            for _ in range(3):
                tasks.start_soon(ask)
            peer.raw(encode(request(1, "wait", None)) + b"\n")
            for _ in range(3):
                await peer.next()
            far.close()
    assert outcomes == [ErrorCode.CONNECTION_CLOSED] * 3
    assert cancelled.is_set()
    with pytest.raises(RpcError) as late:
        await dispatcher.send_raw_request("too late")
    assert late.value.code == ErrorCode.CONNECTION_CLOSED
    await dispatcher.notify("also too late")
    with pytest.raises(RuntimeError, match="once"):
        await dispatcher.run(handler, handler)


async def test_before_run_requests_are_a_runtime_error() -> None:
    near, far = socket.socketpair()
    read, write = socket_streams(near)
    with pytest.raises(RuntimeError, match="run"):
        await Dispatcher(read, write).send_raw_request("too early")
    near.close()
    far.close()


async def test_a_timeout_sends_a_courtesy_cancel_and_a_late_answer_is_dropped() -> None:
    near, far = socket.socketpair()
    peer = Peer(far)
    async with running(near) as left:
        with pytest.raises(RpcError) as raised:
            await left.send_raw_request("slow", timeout=0.01)
        assert raised.value.code == ErrorCode.TIMEOUT
        asked = await peer.next()
        cancel = await peer.next()
        assert (cancel.method, cancel.params) == (CANCEL, {"id": asked.id})
        peer.raw(b'{"jsonrpc":"2.0","id":%d,"result":"late"}\n' % asked.id)
        peer.raw(b'{"jsonrpc":"2.0","id":99,"result":"unknown"}\n')
        peer.raw(encode(request("alive", "x", None)) + b"\n")
        assert (await peer.next()).id == "alive"
    far.close()


async def test_a_cancelled_request_is_never_answered() -> None:
    near, far = socket.socketpair()
    peer = Peer(far)
    begun = anyio.Event()

    async def handler(context: Context, method: str, params: Any) -> Any:
        if method == "wait":
            begun.set()
            await anyio.sleep_forever()
        return method

    async with running(near, handler):
        peer.raw(encode(request(1, "wait", None)) + b"\n")
        await begun.wait()
        peer.raw(b'{"jsonrpc":"2.0","method":"%s","params":{"id":1}}\n' % CANCEL.encode())
        peer.raw(encode(request(2, "next", None)) + b"\n")
        assert (await peer.next()).id == 2
    far.close()


async def test_a_cancel_to_a_wedged_peer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COURTESY_CANCEL_TIMEOUT", 0.05)
    near, far = socket.socketpair()
    async with running(near) as left:
        with pytest.raises(RpcError) as raised:
            await left.send_raw_request("x" * 900_000, timeout=0.05)
        assert raised.value.code == ErrorCode.TIMEOUT
    far.close()


async def test_ids_are_texts_or_whole_numbers_and_in_use_only_once() -> None:
    near, far = socket.socketpair()
    peer = Peer(far)
    begun = anyio.Event()

    async def handler(context: Context, method: str, params: Any) -> Any:
        if method == "wait":
            begun.set()
            await anyio.sleep_forever()
        return method

    async with running(near, handler) as left:
        peer.raw(b'{"jsonrpc":"2.0","id":true,"method":"x"}\n')
        peer.raw(b'{"jsonrpc":"2.0","id":1.5,"method":"x"}\n')
        peer.raw(encode(request(7, "wait", None)) + b"\n")
        await begun.wait()
        peer.raw(encode(request(7, "again", None)) + b"\n")
        peer.raw(encode(request("7", "text", None)) + b"\n")
        answer = await peer.next()
        assert (answer.id, answer.result) == ("7", "text")
        assert left.invalid == 3
    far.close()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b'{"jsonrpc":"1.0","id":1,"method":"x"}\n',
        b'{"jsonrpc":"2.0"}\n',
        b'{"jsonrpc":"2.0","id":1}\n',
        b'{"jsonrpc":"2.0","id":1,"method":5}\n',
        b"\xff\xfe\x00\n",
        b"[" * 50_000 + b"\n",
        b'"' + b"x" * (LINE_LIMIT + 10) + b'"\n',
    ],
)
async def test_rubbish_costs_its_own_line(rubbish: bytes) -> None:
    near, far = socket.socketpair()
    far.settimeout(DEADLINE)
    async with running(near):
        before, after = (encode(request(id_, "x", None)) + b"\n" for id_ in ("before", "after"))
        await anyio.to_thread.run_sync(far.sendall, before + rubbish + after)
        answers = b""
        while answers.count(b"\n") < 2:
            answers += await anyio.to_thread.run_sync(far.recv, 65536)
        assert {decode(line).id for line in answers.splitlines()} == {"before", "after"}
    far.close()


async def test_a_flood_of_requests_is_answered_busy_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INBOUND", 3)
    near, far = socket.socketpair()
    peer = Peer(far)
    async with running(near, forever):
        peer.raw(b"".join(encode(request(number, "x", None)) + b"\n" for number in range(5)))
        refused = [await peer.next(), await peer.next()]
        assert {answer.id for answer in refused} == {3, 4}
        assert {answer.error.code for answer in refused} == {ErrorCode.BUSY}
    far.close()


async def test_the_back_channel_closes_when_the_handler_returns() -> None:
    kept: list[Context] = []
    heard: list[Any] = []

    async def handler(context: Context, method: str, params: Any) -> Any:
        await context.progress("halfway", percent=50)
        kept.append(context)

    async def listen(context: Context, method: str, params: Any) -> Any:
        heard.append((method, params))

    near, far = socket.socketpair()
    async with running(near, listen) as left, running(far, handler):
        await left.send_raw_request("work")
        while not heard:  # turns of the loop
            await anyio.lowlevel.checkpoint()
        assert heard[0][1]["step"] == "halfway"
        with pytest.raises(RuntimeError, match="returned"):
            await kept[0].notify("too late")


async def test_what_is_no_json_is_an_error_of_its_request() -> None:
    async def handler(context: Context, method: str, params: Any) -> Any:
        return object()

    async with pair(handler) as (left, _):
        with pytest.raises(RpcError) as raised:
            await left.send_raw_request("x")
        assert raised.value.code == ErrorCode.INTERNAL


PEER = """
import socket, sys, anyio
from hsrv.rpc.dispatcher import Dispatcher
from hsrv.rpc.framing import socket_streams

async def wait(context, method, params):
    await anyio.sleep(params["seconds"])

async def main():
    sock = socket.socket(fileno=int(sys.argv[1]))
    await Dispatcher(*socket_streams(sock)).run(wait, wait)

anyio.run(main)
"""


async def test_a_peer_that_is_killed_at_any_moment_ends_everything_that_waits() -> None:
    dice = random.Random(7)
    for _ in range(8):
        near, far = socket.socketpair()
        process = start_peer(far.fileno())
        far.close()
        dispatcher = Dispatcher(*socket_streams(near))
        try:
            with anyio.fail_after(DEADLINE):
                async with anyio.create_task_group() as tasks:
                    await tasks.start(dispatcher.run, echo, echo)
                    for seconds in (0, 0, 60):
                        tasks.start_soon(ask_anything, dispatcher, seconds, dice.random() * 0.05)
                    await anyio.sleep(dice.random() * 0.2)  # the moment of the kill is what varies
                    process.kill()
        finally:
            process.kill()
            process.wait()


def start_peer(fd: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PEER, str(fd)], pass_fds=[fd])


async def ask_anything(dispatcher: Dispatcher, seconds: float, patience: float) -> None:
    try:
        await dispatcher.send_raw_request("wait", {"seconds": seconds}, timeout=None if seconds else patience)
    except RpcError as error:
        assert error.code in (ErrorCode.CONNECTION_CLOSED, ErrorCode.TIMEOUT)
