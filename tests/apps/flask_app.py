"""Flask."""

import os
import time
from collections.abc import Iterator

from flask import Flask, Response, request, send_file, stream_with_context

from tests.apps.wsgi_raw import note

app = Flask(__name__)


@app.get("/")
def root() -> dict[str, object]:
    return {"hello": "world", "pid": os.getpid()}


@app.post("/echo")
def echo() -> bytes:
    return request.get_data()


@app.post("/upload")
def upload() -> dict[str, int]:
    return {"size": len(request.files["file"].read())}


@app.get("/ticks/<name>/events")
def ticks(name: str) -> Response:
    def events() -> Iterator[str]:
        try:
            for number in range(int(request.args.get("n", 1 << 30))):
                role = request.environ["hsrv.process"]["role"]
                yield f"data: {number} {name} {request.path} {role}\n\n"
                time.sleep(0.02)
        finally:
            note("ended", request.path)

    return Response(stream_with_context(events()), content_type="text/event-stream")


@app.get("/download")
def download() -> Response:
    return send_file(__file__)


@app.get("/broken")
def broken() -> Response:
    raise LookupError("in a view")
