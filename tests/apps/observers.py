"""Collectors for tests, and applications that see what they do.

Lines go to files of their process in the folder EVENTS, one write each: what a killed process has told is there.
"""

import json
import os
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

import msgspec
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import hsrv
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.events import Event, RequestStarted, Source
from hsrv.otel import OpenTelemetry
from tests.apps import raw

seen: ContextVar[str] = ContextVar("seen", default="nothing")


class Writer:
    """Writes every event, and would write if it were given two at a time."""

    def __init__(self, source: Source) -> None:
        path = Path(os.environ["EVENTS"]) / f"{source.role}-{source.pid}"
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._encode = msgspec.json.Encoder().encode
        self._alone = threading.Lock()

    def collect(self, event: Event) -> None:
        if not self._alone.acquire(blocking=False):
            os.write(self._fd, b"two at a time\n")
            return
        os.write(self._fd, self._encode(event) + b"\n")
        self._alone.release()


class Marker:
    """Leaves the connection's name in the request's context."""

    def collect(self, event: Event) -> None:
        if isinstance(event, RequestStarted):
            seen.set(event.connection)


class Raiser:
    def collect(self, event: Event) -> None:
        raise RuntimeError("a fault of the collector")


class Sleeper:
    def collect(self, event: Event) -> None:
        """Does nothing, until it is closed."""

    def close(self) -> None:
        time.sleep(600)


def raiser(source: Source) -> Raiser:
    return Raiser()


def sleeper(source: Source) -> Sleeper:
    return Sleeper()


def unwilling(source: Source) -> None:
    raise RuntimeError("a fault of the factory")


class FileExporter(SpanExporter):
    """Writes name, parent and thread of every span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with (Path(os.environ["EVENTS"]) / f"spans-{os.getpid()}").open("a") as file:
            for span in spans:
                assert span.context is not None
                row = {
                    "name": span.name,
                    "id": f"{span.context.span_id:016x}",
                    "trace": f"{span.context.trace_id:032x}",
                    "parent": f"{span.parent.span_id:016x}" if span.parent else "",
                    "thread": threading.current_thread().name,
                }
                file.write(json.dumps(row) + "\n")
        return SpanExportResult.SUCCESS


def otel(source: Source) -> OpenTelemetry:
    """Spans that are exported at the end only: the schedule is hours."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(FileExporter(), schedule_delay_millis=3_600_000))
    trace.set_tracer_provider(tracers)
    return OpenTelemetry(tracers, metrics.NoOpMeterProvider(), owns=True)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """tests.apps.raw, and /seen: what collectors left in the context; /span: a span of the application's own."""
    path = scope.get("path")
    if path == "/seen":
        await raw.Request(scope, receive, send).json({"seen": seen.get()})
    elif path == "/span":
        with trace.get_tracer("app").start_as_current_span("inside"):
            await raw.Request(scope, receive, send).json({})
    elif path == "/unannounced":
        scope["query_string"] += b"&plain"
        await raw.Request(scope, receive, send).sse()
    elif path == "/timed":
        request = raw.Request(scope, receive, send)
        await request.start(200, (b"Server-Timing", b"db;dur=5"), (b"x", b"y"), (b"server-timing", b"cache"))
        await request.body()
    else:
        await raw.app(scope, receive, send)


if "SUBSCRIBE" in os.environ:

    @hsrv.subscribe
    def marker(source: Source) -> Marker | None:
        return Marker() if source.role == "worker" else None
