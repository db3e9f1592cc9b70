"""Applications for the tests of a session."""

from typing import Any

from wsproto.events import Message

from hsrv.common.asgi import Receive, Scope, Send
from tests.unit.asyncpool.websocket.peer import Peer

ACCEPT: dict[str, Any] = {"type": "websocket.accept"}
FOR_EVER = 3600


class Recorder:
    """An application that accepts, and keeps what it receives up to the disconnect."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.received.append(await receive())
        await send(ACCEPT)
        while self.received[-1]["type"] != "websocket.disconnect":
            self.received.append(await receive())


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def collect(peer: Peer) -> str | bytes:
    """The next message of the server, whole."""
    parts = []
    while True:
        event = await peer.event()
        assert isinstance(event, Message)
        parts.append(event.data)
        if event.message_finished:
            return "".join(parts) if isinstance(parts[0], str) else b"".join(parts)
