"""The names of the fields of JSON lines: hsrv's own, those of the Elastic Common Schema, those of Google Cloud Logging.

Pure. Fields that a schema has no name for keep theirs.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

Fields = dict[str, Any]

_ECS: Final[Mapping[str, str]] = {
    "timestamp": "@timestamp",
    "level": "log.level",
    "logger": "log.logger",
    "event": "event.action",
    "pid": "process.pid",
    "request_id": "http.request.id",
    "method": "http.request.method",
    "path": "url.path",
    "query": "url.query",
    "http_version": "http.version",
    "status": "http.response.status_code",
    "bytes": "http.response.body.bytes",
    "client": "client.ip",
    "user_agent": "user_agent.original",
    "exception": "error.stack_trace",
    "error": "error.message",
}
"""https://www.elastic.co/guide/en/ecs/current/ecs-field-reference.html"""

_GCP: Final[Mapping[str, str]] = {"timestamp": "time", "exception": "stack_trace"}
"""https://cloud.google.com/logging/docs/structured-logging"""

_REQUEST: Final = frozenset(
    {"method", "path", "query", "http_version", "status", "bytes", "duration_ms", "client"}
)
"""Of a line of the access log; for Google they are one object."""


def _trace_id(traceparent: object) -> str | None:
    """That of W3C Trace Context: version-trace-parent-flags."""
    parts = traceparent.split("-") if isinstance(traceparent, str) else []
    return parts[1] if len(parts) >= 4 else None


def _ecs(fields: Fields) -> Fields:
    found: Fields = {_ECS.get(name, name): value for name, value in fields.items()}
    if "duration_ms" in fields:
        found["event.duration"] = int(found.pop("duration_ms") * 1_000_000)
    if (trace := _trace_id(fields.get("traceparent"))) is not None:
        found["trace.id"] = trace
    if (role := found.get("role")) is not None:
        found["process.name"] = role
    return {**found, "ecs.version": "8.11"}


def _gcp(fields: Fields) -> Fields:
    is_request = fields.get("logger") == "hsrv.access"
    found: Fields = {
        _GCP.get(name, name): value
        for name, value in fields.items()
        if name != "level" and not (is_request and name in _REQUEST)
    }
    found["severity"] = str(fields.get("level", "info")).upper()
    if (trace := _trace_id(fields.get("traceparent"))) is not None:
        found["logging.googleapis.com/trace"] = trace
    if is_request:
        query = f"?{fields['query']}" if fields["query"] else ""
        found["httpRequest"] = {
            "requestMethod": fields["method"],
            "requestUrl": fields["path"] + query,
            "status": fields["status"],
            "responseSize": str(fields["bytes"]),
            "userAgent": found.pop("user_agent", None),
            "remoteIp": fields["client"],
            "latency": f"{fields['duration_ms'] / 1000:.6f}s",
            "protocol": f"HTTP/{fields['http_version']}",
        }
    return found


SCHEMAS: Final[Mapping[str, Callable[[Fields], Fields] | None]] = {
    "hsrv": None,
    "ecs": _ecs,
    "gcp": _gcp,
}
"""Each makes the fields of its schema of hsrv's; None: they are these."""
