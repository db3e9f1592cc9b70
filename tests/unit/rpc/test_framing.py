"""Lines over a real socket: what is rubbish, what is giant, and that everything around it is answered."""

import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsrv.rpc.dispatcher import CANCEL, PROGRESS, Dispatcher
from hsrv.rpc.framing import LINE_LIMIT, LineReader, socket_streams
from hsrv.rpc.messages import InvalidMessage, decode, encode, request
from tests.unit.rpc.conftest import DEADLINE, running

MIB = 1 << 20


def line(id_: int | str, method: str = "x") -> bytes:
    return encode(request(id_, method, None)) + b"\n"


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[Dispatcher, socket.socket]]:
    """A dispatcher, and the bare socket of its peer."""
    near, far = socket.socketpair()
    far.settimeout(DEADLINE)
    with far:
        async with running(socket_streams(near)) as dispatcher:
            yield dispatcher, far


async def send(far: socket.socket, data: bytes) -> None:
    await anyio.to_thread.run_sync(far.sendall, data)


async def exchange(far: socket.socket, data: bytes, *wanted: str) -> None:
    """Send, and read until all of `wanted` are answered."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, far, data)
        missing, rest = set(wanted), b""
        while missing:
            rest += await anyio.to_thread.run_sync(far.recv, 65536)
            *lines, rest = rest.split(b"\n")
            missing -= {decode(answer).id for answer in lines}


RUBBISH = [
    b"\n",
    b" \t \n",
    b"nonsense\n",
    b"[]\n",
    b"null\n",
    b"5\n",
    b'{"jsonrpc":"1.0","id":1,"method":"x"}\n',
    b'{"jsonrpc":"2.0"}\n',
    b'{"jsonrpc":"2.0","id":1}\n',
    b'{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":"x"}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":5}\n',
    b'{"jsonrpc":"2.0","id":true,"method":"x"}\n',
    b'{"jsonrpc":"2.0","id":1.5,"method":"x"}\n',
    b'{"jsonrpc":"2.0","id":{},"method":"x"}\n',
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"yours"}}\n',
    b'{"jsonrpc":"2.0","id":1e400,"method":"x"}\n',
    b'{"jsonrpc":"2.0","id":' + b"9" * 400 + b',"method":"x"}\n',
    b'{"jsonrpc":"2.0","method":"x","params":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
    b"[" * 100_000 + b"\n",
    b"\xff\xfe\x00\n",
    b'"\xed\xa0\x80"\n',
    b'"' + b"x" * (LINE_LIMIT + 10) + b'"\n',
    b"x" * (3 * LINE_LIMIT) + b"\n" + b"y" * (2 * LINE_LIMIT) + b"\n",
    b'{"jsonrpc":"2.0","id":1,"result":"to nobody"}\n',
    b'{"jsonrpc":"2.0","id":"1","error":{"code":"x","message":1}}\n',
    f'{{"jsonrpc":"2.0","method":"{CANCEL}","params":{{"id":[[]]}}}}\n'.encode(),
    f'{{"jsonrpc":"2.0","method":"{PROGRESS}","params":[1]}}\n'.encode(),
    b'{"jsonrpc":"2.0","method":"x","params":{"_meta":{"log":{"a":[1],"b":"c"},"request_id":7}}}\n',
    b'{"jsonrpc":"2.0","method":"x","params":{"_meta":5}}\n',
    line(1)[:-5] + b"\n",
]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda data: repr(data[:40]))
async def test_rubbish_costs_its_own_line(rubbish: bytes) -> None:
    async with answering() as (_, far):
        await exchange(far, line("before") + rubbish + line("after"), "before", "after")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_message_may_come_byte_by_byte_and_many_at_once() -> None:
    async with answering() as (_, far):
        for byte in line("slow"):
            far.send(bytes([byte]))
            await anyio.lowlevel.checkpoint()
        names = [f"n{number}" for number in range(100)]
        await exchange(far, b"".join(line(name) for name in names), "slow", *names)


junk = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "_meta", "x"]), inner
            )
        ),
        max_leaves=12,
    ).map(msgspec.json.encode),
    st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0")},
        optional={
            "id": st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.floats(),
            "method": st.sampled_from(["x", CANCEL, PROGRESS, ""]) | st.integers(),
            "params": st.none() | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(), st.none()),
            "result": st.integers(),
            "error": st.dictionaries(st.text(), st.none()),
        },
    ).map(msgspec.json.encode),
    st.integers(0, 60).map(lambda cut: line("cut")[:cut]),
    st.integers(LINE_LIMIT - 2, LINE_LIMIT + 2).map(lambda size: b'"' + b"z" * (size - 2) + b'"'),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(pieces=st.lists(junk, max_size=8), cuts=st.lists(st.integers(1, 5000), max_size=5))
def test_the_loop_survives_anything_and_answers_the_good_around_it(
    pieces: list[bytes], cuts: list[int]
) -> None:
    data = line("before") + b"".join(
        piece + b"\n" + line(f"good{number}") for number, piece in enumerate(pieces)
    )

    async def story() -> None:
        async with answering() as (_, far):
            rest = data
            for cut in cuts:
                await anyio.to_thread.run_sync(far.sendall, rest[:cut])
                rest = rest[cut:]
            await exchange(far, rest, "before", *(f"good{number}" for number in range(len(pieces))))

    anyio.run(story)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_memory_stays_bounded_under_an_endless_line() -> None:
    near, far = socket.socketpair()
    reader: LineReader
    reader, writer = socket_streams(near)
    data = b"x" * (32 * MIB) + b"\n" + line("after")
    tracemalloc.start()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, far, data)
            first, second = await reader.receive(), await reader.receive()
        assert isinstance(first, InvalidMessage)
        assert getattr(second, "id", None) == "after"
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()
        await writer.aclose()
        far.close()
