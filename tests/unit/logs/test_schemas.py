"""The names of fields in JSON lines."""

from typing import Any

from hsrv.logs.schemas import SCHEMAS

REQUEST: dict[str, Any] = {
    "timestamp": "2026-01-02T03:04:05Z",
    "level": "info",
    "logger": "hsrv.access",
    "event": "request",
    "message": "GET /a 200",
    "kind": "http",
    "method": "GET",
    "path": "/a",
    "query": "b=1",
    "http_version": "1.1",
    "status": 200,
    "bytes": 12,
    "duration_ms": 1.5,
    "client": "::1",
    "user_agent": "curl",
    "request_id": "r1",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "role": "worker",
    "pid": 7,
}
ERROR: dict[str, Any] = {
    "timestamp": "t",
    "level": "error",
    "logger": "shop",
    "event": "x",
    "message": "x",
    "status": 5,
    "exception": "Traceback",
    "traceparent": None,
}


def of(schema: str, fields: dict[str, Any]) -> dict[str, Any]:
    rename = SCHEMAS[schema]
    assert rename is not None
    return rename(fields)


def test_elastic() -> None:
    found = of("ecs", REQUEST)
    assert found["@timestamp"] == "2026-01-02T03:04:05Z"
    assert (found["log.level"], found["message"], found["ecs.version"]) == ("info", "GET /a 200", "8.11")
    assert (found["http.response.status_code"], found["url.path"], found["client.ip"]) == (200, "/a", "::1")
    assert found["event.action"] == "request"
    assert found["event.duration"] == 1_500_000
    assert found["trace.id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (found["process.pid"], found["process.name"]) == (7, "worker")
    assert of("ecs", ERROR)["error.stack_trace"] == "Traceback"
    assert "trace.id" not in of("ecs", ERROR)


def test_google() -> None:
    found = of("gcp", REQUEST)
    assert (found["severity"], found["message"], found["time"]) == (
        "INFO",
        "GET /a 200",
        REQUEST["timestamp"],
    )
    assert found["httpRequest"] == {
        "requestMethod": "GET",
        "requestUrl": "/a?b=1",
        "status": 200,
        "responseSize": "12",
        "userAgent": "curl",
        "remoteIp": "::1",
        "latency": "0.001500s",
        "protocol": "HTTP/1.1",
    }
    assert found["logging.googleapis.com/trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    error = of("gcp", ERROR)
    assert (error["severity"], error["stack_trace"], error["status"]) == ("ERROR", "Traceback", 5)
    assert "httpRequest" not in error


def test_nothing_is_lost_but_what_has_another_name() -> None:
    assert set(map(str, of("ecs", REQUEST).values())) >= {"GET", "b=1", "1.1", "12", "curl", "r1", "http"}
