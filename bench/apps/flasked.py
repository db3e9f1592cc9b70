"""Flask, for the servers that run WSGI."""

import time
from collections.abc import Iterator

from flask import Flask, Response, request
from raw import HELLO, LARGE, TICK

app = Flask(__name__)


@app.get("/")
def hello() -> Response:
    return Response(HELLO, content_type="text/plain")


@app.get("/large")
def large() -> Response:
    return Response(LARGE, content_type="text/plain")


@app.post("/sink")
def sink() -> Response:
    request.get_data()
    return Response(b"ok", content_type="text/plain")


@app.get("/burn")
def burn() -> Response:
    """So many ms of CPU as the query says."""
    end = time.thread_time() + int(request.query_string) / 1e3
    while time.thread_time() < end:
        pass
    return Response(b"ok", content_type="text/plain")


@app.get("/ticks")
def ticks() -> Response:
    """As in `raw`: each event says when it was due."""

    def events() -> Iterator[str]:
        began, number = time.monotonic(), 0
        while True:
            due = began + number * TICK
            time.sleep(max(0.0, due - time.monotonic()))
            yield f"data: {number} {int(due * 1e9)}\n\n"
            number += 1

    return Response(events(), content_type="text/event-stream")
