"""The answer to a WebSocket upgrade request (RFC 6455 section 4.2.2). Pure.

The request was found valid by `hsrv.http.wire.head` (`RequestHead.websocket`). What the application adds is
checked here: a value with a line end, or a header that only the server may set, raises `AppError`.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha1
from typing import Any, Final

from hsrv.asyncpool.websocket.codecs.deflate import DeflateTerms, negotiate
from hsrv.common.asgi import Message, Scope
from hsrv.common.errors import AppError
from hsrv.common.request import Headers, RequestHead

_OURS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"transfer-encoding",
        b"upgrade",
    }
)
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN_IN_VALUE: Final = re.compile(rb"[\x00\r\n]")
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of RFC 6455 section 1.3: the answer proves that the server speaks this protocol."""


def deflate_terms(head: RequestHead, *, enabled: bool) -> DeflateTerms | None:
    """The permessage-deflate terms that the answer to `head` states; None: none."""
    if not enabled:
        return None
    return negotiate(value for name, value in head.headers if name == b"sec-websocket-extensions")


def accept_response(
    head: RequestHead, scope: Scope, message: Message, deflate: DeflateTerms | None, defaults: bytes
) -> bytes:
    """The 101 response for a `websocket.accept` message. Raises `AppError` if the message is
    invalid."""
    subprotocol = _subprotocol(scope, message.get("subprotocol"))
    extra = _extra_headers(message.get("headers") or ())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-accept: " + _accept_token(head.header(b"sec-websocket-key") or b""),
    ]
    if subprotocol is not None:
        lines.append(b"sec-websocket-protocol: " + subprotocol)
    if deflate is not None:
        lines.append(b"sec-websocket-extensions: " + deflate.header())
    lines += (name + b": " + value for name, value in extra)
    return b"\r\n".join(lines) + b"\r\n" + _without(defaults, {name.lower() for name, _ in extra}) + b"\r\n"


def _accept_token(key: bytes) -> bytes:
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def _subprotocol(scope: Scope, chosen: Any) -> bytes | None:
    if chosen is None:
        return None
    offered = list(scope.get("subprotocols", ()))
    if chosen not in offered:
        raise AppError(
            f"websocket.accept: the client did not offer the subprotocol {chosen!r}, but {offered}"
        )
    return str(chosen).encode("latin-1")


def _extra_headers(headers: Iterable[tuple[Any, Any]]) -> Headers:
    checked: Headers = []
    for name, value in headers:
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise AppError(f"websocket.accept: header names and values are bytes, not {name!r}: {value!r}")
        if _TOKEN.fullmatch(name) is None or _FORBIDDEN_IN_VALUE.search(value):
            raise AppError(f"websocket.accept: invalid header {name!r}: {value!r}")
        if name.lower() in _OURS:
            raise AppError(f"websocket.accept: the header {name!r} is set by the server (see `subprotocol`)")
        checked.append((name, value))
    return checked


def _without(defaults: bytes, names: set[bytes]) -> bytes:
    """The server's own header lines that the application did not set itself."""
    if not names:
        return defaults
    lines = defaults.splitlines(keepends=True)
    return b"".join(line for line in lines if line.partition(b":")[0].lower() not in names)
