"""A WSGI application, for gunicorn's sync worker."""

from collections.abc import Callable, Iterable
from typing import Any

from raw import HELLO, LARGE


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = LARGE if environ["PATH_INFO"] == "/large" else HELLO
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", str(len(body)))])
    return [body]
