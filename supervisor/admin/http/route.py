"""Requests, responses, and the routes of paths. Pure."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"

NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    method: str
    """GET for HEAD too: the server leaves out the body."""
    path: str
    """As received, without the query."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The last value of each name."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; several of one name joined by a comma."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response."""

    body: bytes = b""
    content_type: str = TEXT
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """A response that goes on until its chunks end, the client disconnects, or the server ends. Its generator is then
    closed in its own task."""

    chunks: AsyncGenerator[bytes, None]
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Response | Stream
Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """What a path does."""

    handler: Handler
    methods: tuple[str, ...] = ("GET",)
    """GET includes HEAD."""
    public: bool = False
    """Also without the token."""
    writes: bool = False
    """It changes something: only with --admin-write."""

    @property
    def allowed(self) -> tuple[str, ...]:
        return (*self.methods, "HEAD") if "GET" in self.methods else self.methods


def json_response(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value) + b"\n", JSON, status)


def problem(status: int, error: str, headers: Mapping[str, str] = NO_HEADERS) -> Response:
    """An error response."""
    return Response(msgspec.json.encode({"error": error}) + b"\n", JSON, status, headers)
