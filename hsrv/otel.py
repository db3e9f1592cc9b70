"""OpenTelemetry: a span per request, and the metrics of an HTTP server, from lifecycle events.

    pip install 'hsrv[otel]'
    hsrv start main:app --collector hsrv.otel:collector

Uses the providers that the application has set. If it has set none, this module sets them up from the usual OTEL_*
variables, in each process after the fork, because exporters start threads. Promises: the span is current while the
application runs, so the application's spans are its children; pending data is exported at the end of the process,
within the time that collectors have to close. Only this module and `hsrv.events.otelsdk` import OpenTelemetry.

https://opentelemetry.io/docs/specs/semconv/http/
"""

import os
from typing import Any, Final, Protocol, cast

from hsrv.common.errors import AppLoadError
from hsrv.common.terms import EndReason
from hsrv.events.types import (
    Event,
    RequestFailed,
    RequestStarted,
    ResponseCompleted,
    Source,
    StreamClosed,
    StreamOpened,
)

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise AppLoadError(f"hsrv.otel needs OpenTelemetry: pip install 'hsrv[otel]' ({error})") from error

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
"""Others are `_OTHER`: clients choose them, and each would be a separate series."""

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds, as in the semantic conventions."""

FLUSH_MS: Final = 1500
"""For the export of pending data at the end; less than the time of all collectors."""

ENDINGS: Final = (EndReason.COMPLETED, EndReason.CLIENT_GONE, EndReason.DRAINED)
"""Normal reasons for the end of a stream."""

_propagator: Final = TraceContextTextMapPropagator()


class _Request:
    """A running request."""

    def __init__(self, span: trace.Span, method: str, attributes: dict[str, Any]) -> None:
        self.span = span
        self.method = method
        self.attributes = attributes
        """Of the metrics."""
        self.stream = False


class OpenTelemetry:
    """The collector of one process."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, *, owns: bool = False) -> None:
        """`owns`: the providers were created here, and are shut down with this collector."""
        self._providers = (tracers, meters)
        self._owns = owns
        self._tracer = tracers.get_tracer("hsrv")
        meter = meters.get_meter("hsrv")
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )
        self._streams = meter.create_histogram(
            "hsrv.stream.duration", unit="s", description="Duration of long-lived responses and WebSockets."
        )
        self._active = meter.create_up_down_counter(
            "http.server.active_requests",
            unit="{request}",
            description="Number of active HTTP server requests.",
        )
        self._requests: dict[str, _Request] = {}
        """By connection, which has one at a time."""

    def collect(self, event: Event) -> None:
        if isinstance(event, RequestStarted):
            self._start(event)
        elif isinstance(event, ResponseCompleted | RequestFailed):
            self._end(event)
        elif isinstance(event, StreamOpened):
            self._found_stream(event)
        elif isinstance(event, StreamClosed):
            self._streams.record(
                event.seconds, {"hsrv.stream.kind": event.kind, "hsrv.end.reason": event.reason}
            )

    def _start(self, event: RequestStarted) -> None:
        method = event.method if event.method in METHODS else "_OTHER"
        common = {"http.request.method": method, "url.scheme": event.scheme}
        about = _attributes(event, common)
        span = self._tracer.start_span(
            "HTTP" if method == "_OTHER" else method,
            context=_parent(event),
            kind=SpanKind.SERVER,
            attributes=about,
            start_time=_ns(event.at),
        )
        # Never detached: the context belongs to the request and ends with it.
        context.attach(trace.set_span_in_context(span))
        self._active.add(1, common)
        self._requests[event.connection] = _Request(span, method, common)

    def _found_stream(self, event: StreamOpened) -> None:
        request = self._requests.get(event.connection)
        if request is not None:
            request.stream = True
            request.span.add_event("stream opened", {"hsrv.stream.kind": event.kind}, _ns(event.at))

    def _end(self, event: ResponseCompleted | RequestFailed) -> None:
        request = self._requests.pop(event.connection, None)
        if request is None:
            return
        self._active.add(-1, request.attributes)
        outcome = _outcome(event, stream=request.stream)
        span = request.span
        span.set_attributes({**outcome, "http.response.body.size": event.body_bytes})
        if event.route:
            span.update_name(f"{request.method} {event.route}")
        if "error.type" in outcome:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_ns(event.at))
        if not request.stream:
            self._duration.record(
                event.seconds, {**request.attributes, **outcome}, context=trace.set_span_in_context(span)
            )

    def close(self) -> None:
        """Export pending data."""
        for provider in self._providers:
            _flush(provider, ends=self._owns)


def _attributes(event: RequestStarted, common: dict[str, Any]) -> dict[str, Any]:
    about = {**common, "url.path": event.path, "network.protocol.version": event.http_version}
    if common["http.request.method"] != event.method:
        about["http.request.method_original"] = event.method
    if event.client is not None:
        about["client.address"] = event.client[0]
    if event.user_agent:
        about["user_agent.original"] = event.user_agent
    return {**about, "hsrv.request.id": event.request}


def _parent(event: RequestStarted) -> context.Context:
    """The caller's span, if it sent one."""
    if event.traceparent is None:
        return context.Context()
    return _propagator.extract(
        {"traceparent": event.traceparent, "tracestate": event.tracestate}, context.Context()
    )


def _outcome(event: ResponseCompleted | RequestFailed, *, stream: bool) -> dict[str, Any]:
    """Attributes of the end, for span and metrics."""
    outcome: dict[str, Any] = {"http.response.status_code": event.status} if event.status else {}
    if event.route:
        outcome["http.route"] = event.route
    if isinstance(event, RequestFailed) and not (stream and event.reason in ENDINGS):
        outcome["error.type"] = event.reason
    elif event.status >= 500:
        outcome["error.type"] = str(event.status)
    return outcome


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


class _Flushable(Protocol):
    def force_flush(self, timeout_millis: int) -> bool: ...
    def shutdown(self) -> None: ...


def _is_sdk(provider: object) -> bool:
    """Whether it is an SDK provider: the API's no-op providers have nothing to flush."""
    return hasattr(provider, "force_flush") and hasattr(provider, "shutdown")


def _flush(provider: object, *, ends: bool) -> None:
    if _is_sdk(provider):
        cast("_Flushable", provider).force_flush(FLUSH_MS)
        if ends:
            cast("_Flushable", provider).shutdown()


def collector(source: Source) -> OpenTelemetry | None:
    """For `--collector hsrv.otel:collector`. None if OTEL_SDK_DISABLED is set. Raises AppLoadError."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    if _is_sdk(tracers) or _is_sdk(meters):
        return OpenTelemetry(tracers, meters)
    from hsrv.events import otelsdk  # noqa: PLC0415  # an application that brings its providers needs no exporters of ours

    tracers, meters = otelsdk.providers(source)
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    return OpenTelemetry(tracers, meters, owns=True)
