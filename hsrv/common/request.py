"""A parsed request head. Pure data; also sent between processes."""

from typing import Final

import msgspec

Address = tuple[str, int | None]
"""(host, port) of a TCP peer, (path, None) of a Unix socket: the form of the ASGI scope."""

Headers = list[tuple[bytes, bytes]]
"""Field lines in the order received; names in lower case, values without surrounding blanks."""

MARKS: Final = frozenset(
    {b"forwarded", b"traceparent", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"}
)
"""Fields in which proxies pass client address, scheme, trace and request id."""


class RequestHead(msgspec.Struct, frozen=True, array_like=True):
    """A request head that passed all checks of `hsrv.http.wire.head` (RFC 9112 sections 3 to 6)."""

    method: str
    """Upper case as sent; methods are case-sensitive (RFC 9110 section 9.1)."""
    target: bytes
    """The request-target as received."""
    path: str
    """Percent-decoded, UTF-8 (ASGI `path`)."""
    raw_path: bytes
    """The path as received, without the query (ASGI `raw_path`)."""
    query: bytes
    """After the first "?", still percent-encoded; b"" when there is none."""
    http_version: str
    """"1.0" or "1.1"."""
    headers: Headers
    content_length: int | None
    """None when the request has no Content-Length."""
    chunked: bool
    keep_alive: bool
    """Whether the client lets the connection persist after this exchange (RFC 9112 section 9.3)."""
    expect_continue: bool
    """The client waits for 100 (Continue) before it sends the body (RFC 9110 section 10.1.1)."""
    websocket: bool
    """A WebSocket opening handshake, valid as far as an HTTP parser can check (RFC 6455 section 4.1)."""
    event_stream: bool
    """`Accept` names text/event-stream with a quality above 0."""
    marked: bool = True
    """Whether any field is one of MARKS; if not, there is no need to search for them."""

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    def header(self, name: bytes) -> bytes | None:
        """The value of the first field line with this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None
