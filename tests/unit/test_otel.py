"""Spans and metrics out of events, read from the SDK's in-memory exporters."""

from collections.abc import Iterator, Mapping
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from hsrv import otel
from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Role
from hsrv.events import (
    RequestFailed,
    RequestStarted,
    ResponseCompleted,
    Source,
    StreamClosed,
    StreamKind,
    StreamOpened,
    otelsdk,
)
from hsrv.otel import OpenTelemetry

HERE = Source(Role.WORKER, 1, 2, 33)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Watched:
    """A collector over exporters in memory."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.collector = OpenTelemetry(tracers, self.meters)

    def start(self, connection: str = "c", **other: Any) -> None:
        fields: dict[str, Any] = {
            "request": "r-1",
            "kind": "http",
            "method": "GET",
            "path": "/users/5",
            "scheme": "http",
            "http_version": "1.1",
            "client": ("10.0.0.1", 99),
            "user_agent": "agent/1",
            "traceparent": None,
            "tracestate": "",
            "waited": 0.0,
        }
        self.collector.collect(RequestStarted(100.0, 1.0, HERE, connection=connection, **{**fields, **other}))

    def end(
        self, connection: str = "c", *, reason: str = "", status: int = 200, route: str = ""
    ) -> ReadableSpan:
        fields: dict[str, Any] = {
            "connection": connection,
            "request": "r-1",
            "status": status,
            "method": "GET",
            "path": "/users/5",
            "route": route,
            "seconds": 0.5,
            "body_bytes": 12,
        }
        if reason:
            self.collector.collect(RequestFailed(100.5, 1.5, HERE, reason=reason, **fields))
        else:
            self.collector.collect(ResponseCompleted(100.5, 1.5, HERE, **fields))
        return self._spans.get_finished_spans()[-1]

    def stream(self, kind: StreamKind = "event-stream", reason: str = "client_gone") -> None:
        names: dict[str, Any] = {"connection": "c", "request": "r-1"}
        self.collector.collect(StreamOpened(100.1, 1.1, HERE, kind=kind, **names))
        self.collector.collect(StreamClosed(100.5, 1.5, HERE, kind=kind, reason=reason, seconds=0.5, **names))

    def points(self, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        """Attributes and value of each series of a metric."""
        data = self._reader.get_metrics_data()
        assert data is not None
        metrics = [
            one for res in data.resource_metrics for scope in res.scope_metrics for one in scope.metrics
        ]
        return [
            (dict(point.attributes or {}), getattr(point, "count", getattr(point, "value", None)))
            for metric in metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def watched() -> Iterator[Watched]:
    found: list[Watched] = []
    copy_context().run(lambda: found.append(Watched()))
    yield found[0]
    found[0].collector.close()
    found[0].meters.shutdown()


def in_context(watched: Watched, **other: Any) -> trace.SpanContext:
    """Start a request in a context of its own, as the server does; the span that the application sees there."""

    def inside() -> trace.SpanContext:
        watched.start(**other)
        return trace.get_current_span().get_span_context()

    return copy_context().run(inside)


def test_a_request_is_a_server_span_by_the_conventions(watched: Watched) -> None:
    current = in_context(watched)
    span = watched.end()
    assert span.context == current, "the application ran inside of it"
    assert (span.name, span.kind, span.parent) == ("GET", SpanKind.SERVER, None)
    assert (span.start_time, span.end_time) == (100_000_000_000, 100_500_000_000)
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "url.path": "/users/5",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "client.address": "10.0.0.1",
        "user_agent.original": "agent/1",
        "hsrv.request.id": "r-1",
        "http.response.status_code": 200,
        "http.response.body.size": 12,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert not trace.get_current_span().get_span_context().is_valid, "and nothing of it is left here"


def test_its_parent_is_the_callers_span(watched: Watched) -> None:
    in_context(watched, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=1")
    span = watched.end()
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.parent.is_remote
    assert span.context is not None
    assert span.context.trace_state.get("vendor") == "1"


def test_a_span_of_whoever_started_the_server_is_no_parent(watched: Watched) -> None:
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))):
        in_context(watched)
    assert watched.end().parent is None


def test_the_route_names_span_and_series(watched: Watched) -> None:
    in_context(watched)
    assert watched.end(route="/users/{id}").name == "GET /users/{id}"
    ((attributes, count),) = watched.points("http.server.request.duration")
    assert attributes == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "http.route": "/users/{id}",
    }
    assert count == 1


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (200, "", None),
        (404, "", None),
        (500, "", "500"),
        (0, "client_gone", "client_gone"),
        (200, "app_error", "app_error"),
    ],
)
def test_what_is_an_error(watched: Watched, status: int, reason: str, error: str | None) -> None:
    in_context(watched)
    span = watched.end(status=status, reason=reason)
    assert (span.attributes or {}).get("error.type") == error
    assert (span.status.status_code is StatusCode.ERROR) == (error is not None)
    ((attributes, _),) = watched.points("http.server.request.duration")
    assert attributes.get("error.type") == error


def test_clients_make_no_series_of_methods(watched: Watched) -> None:
    in_context(watched, method="BREW")
    span = watched.end()
    assert span.name == "HTTP"
    assert (span.attributes or {})["http.request.method_original"] == "BREW"
    assert watched.points("http.server.active_requests")[0][0]["http.request.method"] == "_OTHER"


def test_active_requests_rise_and_fall(watched: Watched) -> None:
    for connection in ("a", "b", "c"):
        in_context(watched, connection=connection)
    watched.end("b")
    assert [value for _, value in watched.points("http.server.active_requests")] == [2]


@pytest.mark.parametrize(("reason", "error"), [("client_gone", None), ("send_timeout", "send_timeout")])
def test_a_stream_has_its_own_duration_and_its_usual_ends(
    watched: Watched, reason: str, error: str | None
) -> None:
    in_context(watched)
    watched.stream(reason=reason)
    span = watched.end(reason=reason)
    assert [event.name for event in span.events] == ["stream opened"]
    assert (span.attributes or {}).get("error.type") == error
    assert watched.points("http.server.request.duration") == []
    kinds = {"hsrv.stream.kind": "event-stream", "hsrv.end.reason": reason}
    assert watched.points("hsrv.stream.duration") == [(kinds, 1)]


def test_an_end_without_a_beginning_is_nothing(watched: Watched) -> None:
    with pytest.raises(IndexError):
        watched.end()


def test_every_process_is_an_instance_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    found = otelsdk.resource_of(HERE).attributes
    assert found["service.name"] == "shop"
    assert found["service.instance.id"] == "worker-1.2.33"


def test_an_exporter_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(AppLoadError, match="no exporter 'pigeon' for traces"):
        otelsdk.providers(HERE)


def test_exporters_are_those_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "console")
    tracers, meters = otelsdk.providers(HERE)
    tracers.shutdown()
    meters.shutdown()


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert otel.collector(HERE) is None
