"""Nothing of a WebSocket waits for the garbage collector, however it ends.

With it switched off, what is still there afterwards is held by a circle, or by somebody who should have let go.
"""

import asyncio
import gc
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs
from wsproto.events import CloseConnection, TextMessage

from hsrv.asyncpool.websocket.codecs.frames import FrameCodec
from hsrv.asyncpool.websocket.link import WebSocketLink
from hsrv.asyncpool.websocket.session import WebSocketSession
from hsrv.asyncpool.websocket.settings import FLOOD
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.errors import ClientDisconnected
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from tests.fuzz.frames import frame
from tests.unit.asyncpool.websocket.peer import TEST_TIMEOUT, Peer, tcp_pair, until

ACCEPT: dict[str, Any] = {"type": "websocket.accept"}
LARGE: dict[str, Any] = {"type": "websocket.send", "bytes": bytes(3_000_000)}
LATER = 1000.0

OURS = (WebSocketSession, WebSocketLink, FrameCodec, Conn)
HELD = (*OURS, asyncio.Task)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send(ACCEPT)
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    raise KeyError(scope["type"])


async def raises_before(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError(scope["type"])


async def rejects(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close"})


async def denies(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"no"})


async def denies_by_half(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
    raise KeyError(scope["type"])


async def sends_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    while True:
        await send(LARGE)


async def sends_until_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    with suppress(ClientDisconnected):
        await sends_for_ever(scope, receive, send)


async def sends_after_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    while (await receive())["type"] != "websocket.disconnect":
        pass
    try:
        await send(LARGE)
    except ClientDisconnected as error:
        raise KeyError(str(error)) from error


async def sleeps(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send(ACCEPT)
    await asyncio.sleep(LATER)


async def waits_in_a_group(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sends_after_the_end(scope, receive, send))
        tasks.create_task(asyncio.sleep(LATER))


async def says_goodbye(peer: Peer) -> None:
    await peer.head()
    await peer.send(TextMessage(data="a"), CloseConnection(code=1000))
    await until(lambda: peer.session._link.ended is not None)


async def leaves(peer: Peer) -> None:
    await peer.head()


async def leaves_amid_a_message(peer: Peer) -> None:
    await peer.head()
    await peer.send_bytes(frame(0x01, b"a" * 50_000))
    await peer.turns()


async def resets(peer: Peer) -> None:
    await peer.head()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


async def reads_the_close(peer: Peer) -> None:
    await peer.head()
    await peer.event()


async def reads_all(peer: Peer) -> None:
    with suppress(ConnectionError):
        while await peer.loop.sock_recv(peer.sock, 65536):
            pass


async def breaks_the_protocol(peer: Peer) -> None:
    await peer.head()
    await peer.send_bytes(b"\x81\x01a")
    await reads_all(peer)


async def floods(peer: Peer) -> None:
    await peer.head()
    await peer.send_bytes(frame(0x89, b"") * (FLOOD + 100))
    await until(lambda: peer.session._link.ended is not None)


async def takes_nothing(peer: Peer) -> None:
    await peer.head()
    await until(lambda: peer.conn.pending_bytes > 0)
    await peer.turns()
    peer.session.check_deadlines(peer.loop.time() + LATER)


async def leaves_while_we_send(peer: Peer) -> None:
    await peer.head()
    await until(lambda: peer.conn.pending_bytes > 0)
    await peer.turns()


async def is_shut_down(peer: Peer) -> None:
    await peer.head()
    peer.session.shutdown()
    await peer.send(CloseConnection(code=1012))


async def is_shut_down_early(peer: Peer) -> None:
    peer.session.shutdown()


async def is_aborted(peer: Peer) -> None:
    await peer.head()
    await peer.turns()
    peer.session.abort()


async def is_aborted_amid_send(peer: Peer) -> None:
    await leaves_while_we_send(peer)
    peer.session.abort()


async def misses_a_ping(peer: Peer) -> None:
    await peer.head()
    peer.session.check_deadlines(peer.loop.time() + 100)
    peer.session.check_deadlines(peer.loop.time() + LATER)


ENDS: list[tuple[Application, Callable[[Peer], Awaitable[None]]]] = [
    (echo, says_goodbye),
    (echo, leaves),
    (echo, leaves_amid_a_message),
    (echo, resets),
    (echo, breaks_the_protocol),
    (echo, floods),
    (echo, is_shut_down),
    (echo, is_shut_down_early),
    (echo, is_aborted),
    (echo, misses_a_ping),
    (returns, reads_the_close),
    (raises, reads_the_close),
    (raises_before, reads_all),
    (rejects, reads_all),
    (denies, reads_all),
    (denies_by_half, reads_all),
    (sends_for_ever, takes_nothing),
    (sends_for_ever, leaves_while_we_send),
    (sends_for_ever, is_aborted_amid_send),
    (sends_until_the_end, takes_nothing),
    (sends_until_the_end, leaves_while_we_send),
    (sends_after_the_end, says_goodbye),
    (sends_after_the_end, resets),
    (sleeps, is_aborted),
    (waits_in_a_group, says_goodbye),
    (waits_in_a_group, leaves),
]


def held() -> list[object]:
    return [one for one in gc.get_objects() if isinstance(one, HELD)]


@pytest.mark.parametrize("loop_name", ["uvloop", "asyncio"])
@pytest.mark.parametrize(("app", "end"), ENDS, ids=lambda part: part.__name__)
def test_nothing_is_left_without_the_garbage_collector(
    app: Application, end: Callable[[Peer], Awaitable[None]], loop_name: str
) -> None:
    async def live() -> None:
        pair = tcp_pair() if end is resets else None
        peer = Peer(app, pair=pair, ping_interval=20, ping_timeout=10)
        await end(peer)
        await peer.ended()

    loop = new_loop(loop_name)
    gc.freeze()  # what is there already is looked at no more
    gc.disable()
    try:
        with capture_logs():
            loop.run_until_complete(asyncio.wait_for(live(), TEST_TIMEOUT))
            loop.run_until_complete(asyncio.sleep(0))
        assert held() == []
    finally:
        gc.enable()
        loop.close()
