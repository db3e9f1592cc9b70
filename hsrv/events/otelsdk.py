"""OpenTelemetry providers for an application that has set none, configured by the usual OTEL_* variables.

OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER select among the installed exporters (entry points, as in OpenTelemetry's
own tools): `otlp` by default, `none` for none.
"""

import os
from importlib.metadata import entry_points
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from hsrv.common.errors import AppLoadError
from hsrv.events.types import Source

ALIASES: Final[dict[str, tuple[str, ...]]] = {"otlp": ("otlp_proto_http", "otlp_proto_grpc")}
"""`otlp` is the first that is installed, unless OTEL_EXPORTER_OTLP_PROTOCOL selects one."""


def providers(source: Source) -> tuple[TracerProvider, MeterProvider]:
    """Called after the fork: exporters start threads. Raises AppLoadError."""
    resource = resource_of(source)
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in _exporters("traces"):
        tracers.add_span_processor(BatchSpanProcessor(exporter))
    readers = [_reader(exporter) for exporter in _exporters("metrics")]
    return tracers, MeterProvider(readers, resource=resource, shutdown_on_exit=False)


def resource_of(source: Source) -> Resource:
    """The resource of this process. Each process needs its own name: metrics of two would be mixed up."""
    name = os.environ.get("OTEL_SERVICE_NAME", "hsrv")
    instance = f"{source.role}-{source.slot}.{source.generation}.{source.pid}"
    about: dict[str, Any] = {"service.name": name, "service.instance.id": instance, "process.pid": source.pid}
    return Resource.create({**about, "hsrv.role": str(source.role), "hsrv.generation": source.generation})


def _reader(exporter: Any) -> MetricReader:
    """Some exporters, like the one for Prometheus, are readers."""
    return exporter if isinstance(exporter, MetricReader) else PeriodicExportingMetricReader(exporter)


def _exporters(signal: str) -> list[Any]:
    wanted = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp")
    names = [name.strip() for name in wanted.split(",") if name.strip() not in ("", "none")]
    return [_exporter(signal, name) for name in names]


def _exporter(signal: str, name: str) -> Any:
    installed = {found.name: found for found in entry_points(group=f"opentelemetry_{signal}_exporter")}
    protocol = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    if name == "otlp" and protocol:
        candidates: tuple[str, ...] = ("otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http",)
    else:
        candidates = ALIASES.get(name, (name,))
    for candidate in candidates:
        if candidate in installed:
            return installed[candidate].load()()
    raise AppLoadError(
        f"hsrv.otel: no exporter {name!r} for {signal} is installed; for otlp: pip install "
        f"opentelemetry-exporter-otlp-proto-http. OTEL_{signal.upper()}_EXPORTER names another, or none"
    )
