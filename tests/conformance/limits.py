"""Too large anything: RFC 9110 sections 15.5.14 and 15.5.15, RFC 6585 section 5. The limits are those of `conftest`."""

from collections.abc import Iterator
from typing import Any

from tests.conformance.case import Case, P, Seen, chunked, post, posted, refused, request, served

REQUEST_LINE = 2000
HEAD = 16_000
FIELDS = 64
BODY = 100_000

OPTIONS: dict[str, Any] = {
    "limit_request_line": REQUEST_LINE,
    "limit_request_head": HEAD,
    "limit_request_fields": FIELDS,
    "limit_request_body": BODY,
}


def _cases() -> Iterator[Case]:
    line = len(f"GET {P} HTTP/1.1")
    full = "/" + "x" * (REQUEST_LINE - line - 1)
    yield served("request line as long as may be", "9112 3", request(target=P + full), Seen(path=P + full))
    yield refused("request line of one byte more", "9110 15.5.15", request(target=P + full + "x"), 414)
    yield refused("query too long", "9110 15.5.15", request(target=f"{P}?{full}"), 414)
    yield refused("method too long", "9112 3", request(method="G" * 3000), 414, 501)
    yield refused("request line without an end", "9110 15.5.15", f"GET {P}/" + "x" * 5000, 414)
    yield refused("line that never was a request", "9110 15.5.15", "x" * 5000, 414)
    room = HEAD - len(request("X-A: "))
    yield served(
        "head as large as may be", "9112 5", request("X-A: " + "a" * room), Seen(headers={"x-a": "a" * room})
    )
    yield refused("head of one byte more", "6585 5", request("X-A: " + "a" * (room + 1)), 431)
    yield refused("head without an end", "6585 5", request("X-A: " + "a" * HEAD).rstrip(), 431)
    yield refused("name too long", "6585 5", request("X" * HEAD + ": a"), 431)
    fields = [f"X-{number}: a" for number in range(FIELDS - 1)]
    yield served("as many fields as may be", "9112 5", request(*fields), Seen(headers={"x-0": "a"}))
    yield refused("one field more", "6585 5", request(*fields, "X: a"), 431)
    yield refused("fields without an end", "6585 5", request(*fields, "X: a").removesuffix("\r\n"), 431)
    yield refused("many empty fields", "6585 5", request(*["X:"] * 2000), 431)
    yield served(
        "body as large as may be",
        "9110 8.6",
        post(f"Content-Length: {BODY}", body="x" * BODY),
        posted("x" * BODY),
    )
    yield refused("length of one byte more", "9110 15.5.14", post(f"Content-Length: {BODY + 1}"), 413)
    yield refused(
        "length of one byte more, sent",
        "9110 15.5.14",
        post(f"Content-Length: {BODY + 1}", body="x" * (BODY + 1)),
        413,
    )
    yield served(
        "chunk as large as may be",
        "9112 7.1",
        chunked(f"c350\r\n{'x' * 50_000}\r\n0\r\n\r\n"),
        posted("x" * 50_000),
    )
    yield refused("chunk too large, sent", "9110 15.5.14", chunked(f"{BODY + 1:x}\r\n{'x' * 10_000}"), 413)
    yield refused("size line too long", "9112 7.1.1", chunked("5;" + "x" * 5000))
    yield refused("size line of blanks", "9112 7.1.1", chunked("5" + " " * 5000))
    yield refused("trailer section without an end", "9110 6.5.1", chunked("0\r\nX-T: " + "x" * 20_000))


CASES = tuple(_cases())
