"""`app`, as a WSGI application: echoes what it saw, and sends what the scripts say as far as WSGI has words for it."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from hsrv.common.asgi import Message
from tests.conformance.app import PATH_LENGTH, SCRIPTS, Failure, record

NOT_OF_WSGI = {
    # hop-by-hop fields are refused
    "426",
    "close",
    "coding",
    "coding-length",
    "coding-parts",
    "hops",
    "keep",
    "value-dropped-crlf",
    "value-upgrade-crlf",
    # messages that WSGI has no words for, and types that differ
    "body-late",
    "hint",
    "hint-crlf",
    "name-text",
    "raise-complete",
    "too-long-parts",
    "too-short-silent",
    "trailer-crlf",
    "trailers",
    "unfinished",
    "unknown",
    "value-text",
}
"""Scripts that are left out. What there is of them in WSGI: tests/integration/test_wsgi.py."""


def app(environ: dict[str, Any], start_response: Any) -> Iterable[Any]:
    raw_path = raw_path_of(environ)
    record({"method": environ["REQUEST_METHOD"], "raw_path": raw_path.encode("latin-1")})
    _, marker, name = raw_path[PATH_LENGTH:].partition("/respond/")
    return respond(SCRIPTS[name], start_response) if marker else echo(environ, raw_path, start_response)


def raw_path_of(environ: dict[str, Any]) -> str:
    """WSGI knows only the target, which may be in absolute form (RFC 9112 section 3.2.2)."""
    target: str = environ["REQUEST_URI"]
    if not target.startswith(("/", "*")):
        target = "/" + target.partition("://")[2].partition("?")[0].partition("/")[2]
    return target.partition("?")[0]


def respond(script: list[Message | type[Failure]], start_response: Any) -> Iterable[Any]:
    bodies = [message for message in script if message is Failure or message["type"] == "http.response.body"]  # type: ignore[index]  # no other class is in it
    first = script[0] if script else None
    if first is Failure:
        raise Failure
    if isinstance(first, dict) and first["type"] == "http.response.start":
        start(first, start_response)
    if len(script) == len(bodies) + 1 == 2 and bodies[0] is not Failure:
        return [bodies[0]["body"]]  # type: ignore[index]  # it is a dict
    return go_on(script[1:], start_response)


def go_on(script: list[Message | type[Failure]], start_response: Any) -> Iterator[Any]:
    for message in script:
        if not isinstance(message, dict):
            raise Failure
        if message["type"] == "http.response.start":
            start(message, start_response)
        else:
            yield message["body"]


def start(message: Message, start_response: Any) -> None:
    status, headers = message["status"], message["headers"]
    text = f"{status} Some" if isinstance(status, int) else status
    start_response(text, [tuple(part.decode("latin-1") for part in pair) for pair in headers])


def echo(environ: dict[str, Any], raw_path: str, start_response: Any) -> Iterable[bytes]:
    names = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}
    names |= {name: name[5:].lower().replace("_", "-") for name in environ if name.startswith("HTTP_")}
    seen = {
        "role": environ["hsrv.process"]["role"],
        "method": environ["REQUEST_METHOD"],
        "path": raw_path,
        "query": environ["QUERY_STRING"],
        "version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        "headers": [[names[name], environ[name]] for name in names if name in environ],
        "body": environ["wsgi.input"].read().decode("latin-1"),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
