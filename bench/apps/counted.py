"""Counts the calls of Python functions of hsrv in its own process, with sys.setprofile, and answers with the counts.

From one call of the application to the next is one whole request: the end of one, and the beginning of the other.
"""

import json
import sys
from types import FrameType
from typing import Any


class Calls:
    """Of this process and thread, since it was asked last."""

    def __init__(self) -> None:
        self.calls = 0
        self.changes = 0
        self._file = ""

    def begin(self) -> None:
        sys.setprofile(self._on_event)

    def take(self) -> tuple[int, int]:
        found = self.calls, self.changes
        self.calls = self.changes = 0
        return found

    def _on_event(self, frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and ("/hsrv/" in file and "site-packages" not in file):
            self.calls += 1
            self.changes += file != self._file
            self._file = file


calls = Calls()


def told() -> bytes:
    found = json.dumps(calls.take()).encode()
    calls.begin()
    return found


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        stream = scope["path"] == "/stream"
        body = told()
        headers = (
            [(b"content-type", b"text/event-stream")] if stream else [(b"content-length", b"%d" % len(body))]
        )
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if stream:
            await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n", "more_body": True})
            body = b""
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": told().decode()})
    else:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
