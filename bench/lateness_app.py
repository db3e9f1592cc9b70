"""The application of `lateness.py`."""

import asyncio
import time
from typing import Any

INTERVAL = 0.1


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("only http")
    if scope["path"] == "/ticks":
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        began, number = time.monotonic(), 0
        while True:
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            number += 1
            await asyncio.sleep(max(0.0, began + number * INTERVAL - time.monotonic()))
    if scope["path"] == "/burn":
        end = time.perf_counter() + 0.2
        while time.perf_counter() < end:
            pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
