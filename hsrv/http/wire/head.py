"""What of a request head is accepted: grammar, framing, host, target and the meanings the server acts on. Pure.

Promises: every head that leaves here has one reading, the same whichever parser split it: what could be
read in two ways (RFC 9112 section 11.2, request smuggling) is refused. So grammar and framing are
checked on what `hsrv.http.wire.parser_split` cut out of the bytes, which repairs nothing, before another parser is
asked. Must not do I/O or keep state between heads.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from hsrv.common.errors import ClientError
from hsrv.common.request import MARKS, Headers, RequestHead
from hsrv.common.terms import HeaderMap
from hsrv.http.wire.grammar import is_token
from hsrv.http.wire.parser import HeadParser, RawHead, choose_parser

MAX_EMPTY_LINES: Final = 8
"""Empty lines ignored before a request line. RFC 9112 section 2.2 asks for at least one."""

MAX_LENGTH_DIGITS: Final = 18
"""Maximum digits of a Content-Length. More exceed every limit on the body, and would cost big-number arithmetic."""

_is_host: Final = re.compile(
    rb"(?:\[[0-9a-f:.]+\]|(?:[a-z0-9._~-]|%[0-9a-f]{2})*+)(?::[0-9]{0,5})?"
).fullmatch
"""A lower-case Host (RFC 9110 section 7.2) without the sub-delims that RFC 3986 permits and no name service
knows: a comma or quote there only serves to confuse software that compares or prints it."""
_absolute_target: Final = re.compile(rb"(https?)://([^/?]++)([^?]*+)(.*+)", re.IGNORECASE).fullmatch
_websocket_key: Final = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch
_zero_quality: Final = re.compile(rb"q=0(?:\.0*)?").fullmatch
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}

_VERSIONS: Final = {b"1.1": "1.1", b"1.0": "1.0"}

_SINGLE: Final = {
    b"content-length": "Content-Length",
    b"host": "Host",
    b"transfer-encoding": "Transfer-Encoding",
}
"""Fields that decide where a request ends and where it belongs: two of one kind have more than one reading."""

split: Final = choose_parser("split")
"""Checks the grammar for all parsers."""


Fields = dict[bytes, bytes]
"""The values by name, in lower case; those of a repeated field as one list."""


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """What is accepted of a head and of the body it declares, where that is the operator's to say."""

    request_line: int
    """Bytes, without the CRLF. 414 above."""
    head: int
    """Bytes, from the request line to the empty line, both included. 431 above."""
    fields: int
    """Field lines. 431 above."""
    body: int
    """Bytes. 413 above."""
    header_map: HeaderMap = HeaderMap.DROP


def take_head(buffer: bytearray, searched: int, parse: HeadParser, limits: HeadLimits) -> RequestHead | None:
    """Remove one complete head from the front of `buffer`. None: incomplete.

    `searched` is the number of bytes at the front that are known not to hold its end. Raises ClientError with
    400, 413, 414, 417, 426, 431, 501 or 505; the connection can't go on after that, and the head is still there.
    """
    if buffer.startswith(b"\r\n"):
        searched = max(0, searched - _drop_empty_lines(buffer))
        if buffer.startswith(b"\r\n"):
            return None  # and nothing else so far
    end = buffer.find(b"\r\n\r\n", max(0, searched - 3))
    if end < 0:
        _check_incomplete(buffer, searched, limits)
        return None
    end += 4
    if end == len(buffer):
        head = read_head(bytes(buffer), parse, limits)
        buffer.clear()
    else:
        head = read_head(bytes(buffer[:end]), parse, limits)
        del buffer[:end]
    return head


def read_head(block: bytes, parse: HeadParser, limits: HeadLimits) -> RequestHead:
    """The meaning of one whole head. Raises ClientError like `take_head`."""
    size = len(block)
    if size > limits.request_line and block.find(b"\r\n") > limits.request_line:
        raise ClientError(414, "request line too long")
    if size > limits.head or (size > limits.fields and block.count(b"\r\n") - 2 > limits.fields):
        raise ClientError(431, "request header fields too large")
    raw = split(block)
    version = _VERSIONS.get(raw.version)
    if version is None:
        raise ClientError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    fields = dict(raw.headers)
    if len(fields) < len(raw.headers):
        fields = _combined(raw.headers)
    length, chunked, host = _framing(fields, version, limits.body)
    if parse is not split:
        raw = parse(block)  # asked only now: what it repairs must not be let through
    method = raw.method.decode("ascii")
    path, _, query = _origin_form(method, raw.target, host).partition(b"?")
    headers = _visible(raw, fields, host, limits.header_map)
    text = path.decode("ascii")
    accept, connection = fields.get(b"accept"), fields.get(b"connection")
    has_body = chunked or bool(length)
    return RequestHead(
        method=method,
        target=raw.target,
        path=unquote(text) if "%" in text else text,
        raw_path=path,
        query=query,
        http_version=version,
        headers=headers,
        content_length=length,
        chunked=chunked,
        keep_alive=version == "1.1" if connection is None else _keep_alive(version, connection),
        expect_continue=b"expect" in fields and _expects_continue(version, fields[b"expect"]) and has_body,
        websocket=b"upgrade" in fields and _is_websocket(method, version, fields, headers, has_body=has_body),
        event_stream=accept is not None and _accepts_event_stream(accept),
        marked=not fields.keys().isdisjoint(MARKS),
    )


def _combined(headers: Headers) -> Fields:
    """The fields by name, the values of repeated ones as one list (RFC 9110 section 5.3)."""
    fields: Fields = {}
    for name, value in headers:
        if name not in fields:
            fields[name] = value
        elif name in _SINGLE:
            raise ClientError(400, f"more than one {_SINGLE[name]}")
        else:
            fields[name] += b"," + value
    return fields


# before a head is complete


def _drop_empty_lines(buffer: bytearray) -> int:
    """Remove the empty lines that precede a request line; how many bytes they were.

    As long as nothing follows they stay: those that come later count with them.
    """
    end = 0
    while buffer.startswith(b"\r\n", end):
        end += 2
    if end > 2 * MAX_EMPTY_LINES:
        raise ClientError(400, "too many empty lines before the request line")
    if end == len(buffer) or buffer[end:] == b"\r":
        return 0
    del buffer[:end]
    return end


def _check_incomplete(buffer: bytearray, searched: int, limits: HeadLimits) -> None:
    """Refuse early what can't become acceptable: there is no point in waiting for the rest of it."""
    if not buffer or buffer == b"\r":
        return
    if is_token(buffer[:1]) is None:
        raise ClientError(400, "not an HTTP request")  # TLS to a plain port, mostly
    enough = limits.request_line + 2
    if len(buffer) >= enough and buffer.find(b"\r\n", 0, enough) < 0:
        raise ClientError(414, "request line too long")
    if len(buffer) >= limits.head:
        raise ClientError(431, "request header fields too large")
    if buffer.find(b"\n", searched) < 0:
        return  # no line ended since the last look
    lines = buffer.count(b"\r\n")
    if lines - 1 > limits.fields:
        raise ClientError(431, "request header fields too large")
    if buffer.count(b"\n") != lines:
        raise ClientError(400, "line ended by a bare LF")


# framing (RFC 9112 section 6) and host


def _framing(fields: Fields, version: str, body_limit: int) -> tuple[int | None, bool, bytes | None]:
    """Content-Length, whether the body is chunked, and the host that was asked, in lower case."""
    length, host, coding = (
        fields.get(b"content-length"),
        fields.get(b"host"),
        fields.get(b"transfer-encoding"),
    )
    if host is None:
        if version == "1.1":
            raise ClientError(400, "no Host")
    else:
        host = host.lower()
        if _is_host(host) is None:
            raise ClientError(400, "malformed Host")
    if coding is not None:
        _check_coding(coding.lower(), version)
        if length is not None:
            raise ClientError(400, "Content-Length with Transfer-Encoding")
    return None if length is None else _length(length, body_limit), coding is not None, host


def _check_coding(coding: bytes, version: str) -> None:
    """Accept `chunked` alone. Anything else is either malformed or a coding that we don't know."""
    if version == "1.0":
        raise ClientError(400, "Transfer-Encoding in HTTP/1.0")  # RFC 9112 section 6.1: faulty framing
    if coding == b"chunked":
        return
    codings = [part.strip(b" \t") for part in coding.split(b",")]
    if b"chunked" in codings[:-1] or not all(map(is_token, codings)):
        raise ClientError(400, "malformed Transfer-Encoding")
    raise ClientError(501, "unknown transfer coding")


def _length(value: bytes, limit: int) -> int:
    if not value.isdigit():
        raise ClientError(400, "malformed Content-Length")
    if len(value) > MAX_LENGTH_DIGITS or int(value) > limit:
        raise ClientError(413, "request body too large")
    return int(value)


# the target (RFC 9112 section 3.2)


def _origin_form(method: str, target: bytes, host: bytes | None) -> bytes:
    """The target, one in absolute-form as its origin-form. `*` stays as it is."""
    if method == "CONNECT":
        raise ClientError(501, "CONNECT is not supported")
    if b"#" in target:
        raise ClientError(400, "fragment in the request target")
    if target.startswith(b"/"):
        return target
    if target == b"*" and method == "OPTIONS":
        return target
    match = _absolute_target(target)
    if match is None:
        raise ClientError(400, "malformed request target")
    scheme, authority = match[1].lower(), match[2].lower()
    if _is_host(authority) is None:
        raise ClientError(400, "malformed request target")
    port = _DEFAULT_PORTS[scheme]
    if host is not None and host.removesuffix(port) != authority.removesuffix(port):
        raise ClientError(400, "Host differs from the request target")
    path: bytes = match[3] or b"/"
    query: bytes = match[4]
    return path + query


def _with_host(target: bytes, headers: Headers) -> Headers:
    """The headers with the host of an absolute-form (RFC 9112 section 3.2.2): HTTP/1.0 may give no other."""
    match = _absolute_target(target)
    return headers if match is None else [(b"host", match[2]), *headers]


# what the fields mean


def _visible(raw: RawHead, fields: Fields, host: bytes | None, header_map: HeaderMap) -> Headers:
    """The headers as the application sees them."""
    headers = raw.headers
    if header_map is not HeaderMap.KEEP and b"_" in b"".join(fields):
        if header_map is HeaderMap.REFUSE:
            raise ClientError(400, "underscore in a header name")
        headers = [field for field in headers if b"_" not in field[0]]
    if host is None:
        headers = _with_host(raw.target, headers)
    if (
        b"transfer-encoding" in fields
    ):  # h11 lowers the coding's name, which is case-insensitive: so it is lowered for all parsers
        headers = [(name, b"chunked" if name == b"transfer-encoding" else value) for name, value in headers]
    return headers


def _elements(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, in lower case (RFC 9110 section 5.6.1)."""
    return [part.strip(b" \t") for part in value.lower().split(b",")]


def _keep_alive(version: str, connection: bytes) -> bool:
    if connection == b"keep-alive":
        return True  # what browsers and proxies send with every request: not worth taking apart
    if connection == b"close":
        return False
    options = _elements(connection)
    return b"close" not in options and (version == "1.1" or b"keep-alive" in options)


def _expects_continue(version: str, expect: bytes) -> bool:
    """Whether 100 (Continue) is expected. An unknown expectation is refused (RFC 9110 section 10.1.1)."""
    if version == "1.0":
        return False
    if any(element != b"100-continue" for element in _elements(expect)):
        raise ClientError(417, "unknown expectation")
    return True


def _is_websocket(method: str, version: str, fields: Fields, headers: Headers, *, has_body: bool) -> bool:
    """Whether this is an opening handshake (RFC 6455 section 4.2.1). Raises ClientError for a faulty one."""
    asked = b"websocket" in _elements(fields[b"upgrade"])
    if version == "1.0" or not asked or b"upgrade" not in _elements(fields.get(b"connection", b"")):
        return False  # RFC 9110 section 7.8: not an upgrade that we know, so a plain request
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    versions = [value for name, value in headers if name == b"sec-websocket-version"]
    if method != "GET" or has_body:
        raise ClientError(400, "a WebSocket handshake is a GET without a body")
    if len(versions) != 1:
        raise ClientError(400, "no or several Sec-WebSocket-Version")
    if versions[0] != b"13":
        raise ClientError(
            426, "only version 13 of the WebSocket protocol is supported", [(b"sec-websocket-version", b"13")]
        )
    if len(keys) != 1 or _websocket_key(keys[0]) is None:
        raise ClientError(400, "malformed Sec-WebSocket-Key")
    return True


def _accepts_event_stream(accept: bytes) -> bool:
    """Whether text/event-stream is named, with a quality above 0 (RFC 9110 section 12.5.1)."""
    if b"text/event-stream" not in accept.lower():
        return False
    for element in _elements(accept):
        media_type, *parameters = (part.strip(b" \t") for part in element.split(b";"))
        if media_type == b"text/event-stream" and not any(map(_zero_quality, parameters)):
            return True
    return False
