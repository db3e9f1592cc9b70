"""What happens at the end of each process, in the file NOTES; signals that the application takes for itself."""

import asyncio
import atexit
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

NOTES = Path(os.environ["NOTES"])
FOLDER = tempfile.TemporaryDirectory(prefix="imported-", dir=NOTES.parent)


def note(*words: object) -> None:
    with NOTES.open("a") as file:
        file.write(f"{' '.join(map(str, words))}\n")


class Exporter(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        for span in spans:
            note("span", span.name)
        return SpanExportResult.SUCCESS


provider = TracerProvider()
tracer = provider.get_tracer("endings")
if "SLOW" in os.environ:
    atexit.register(time.sleep, 60)
atexit.register(lambda: note("imported", os.getpid()))
for taken in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(taken, lambda *_: sys.exit(9))


async def startup() -> None:
    if FOLDER not in ready:
        ready.append(FOLDER)
        provider.add_span_processor(BatchSpanProcessor(Exporter(), schedule_delay_millis=60_000))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.get_running_loop().stop)


ready: list[Any] = []


async def answer(path: str) -> Any:
    if path == "/wait":
        note("waiting")
        await asyncio.sleep(0.5)
    if path == "/span":
        with tracer.start_as_current_span(f"of-{os.getpid()}"):
            ready.append(tempfile.TemporaryDirectory(prefix="made-", dir=NOTES.parent))
        atexit.register(lambda: note("handler", os.getpid()))
    if path == "/terminate":
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(5)
        return process.exitcode
    return os.getpid()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = json.dumps(await answer(scope["path"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
