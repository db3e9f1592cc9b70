"""Persistence, pipelining, Expect and Upgrade: RFC 9112 section 9, RFC 9110 sections 7.6.1, 7.8 and 10.1.1."""

from collections.abc import Iterator
from dataclasses import replace

from tests.conformance.case import (
    GET,
    OK,
    After,
    Answer,
    Case,
    P,
    Seen,
    chunked,
    post,
    posted,
    refused,
    request,
    served,
    truncated,
)

OLD = Seen(version="1.0")
CONTINUE = "Expect: 100-continue"
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket")
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = "Sec-WebSocket-Version: 13"

OPTIONS = {
    # version, lines: what becomes of the connection
    ("1.1",): After.OPEN,
    ("1.1", "Connection: close"): After.CLOSED,
    ("1.1", "Connection: Close"): After.CLOSED,
    ("1.1", "Connection:close"): After.CLOSED,
    ("1.1", "Connection: x, close , y"): After.CLOSED,
    ("1.1", "Connection: ,,close"): After.CLOSED,
    ("1.1", "Connection: x", "Connection: close"): After.CLOSED,
    ("1.1", "Connection: keep-alive, close"): After.CLOSED,
    ("1.1", "Connection: keep-alive"): After.OPEN,
    ("1.1", "Connection: closed"): After.OPEN,
    ("1.1", "Connection: not-close"): After.OPEN,
    ("1.1", 'Connection: "close"'): After.OPEN,
    ("1.1", "Connection: close;q=1"): After.OPEN,
    ("1.1", "Connection:"): After.OPEN,
    ("1.1", "Keep-Alive: timeout=0"): After.OPEN,
    ("1.1", "Proxy-Connection: close"): After.OPEN,
    ("1.0",): After.CLOSED,
    ("1.0", "Connection: keep-alive"): After.OPEN,
    ("1.0", "Connection: Keep-Alive"): After.OPEN,
    ("1.0", "Connection: x, keep-alive"): After.OPEN,
    ("1.0", "Connection: keep-alive, close"): After.CLOSED,
    ("1.0", "Connection: close"): After.CLOSED,
    ("1.0", "Keep-Alive: timeout=9"): After.CLOSED,
    ("1.0", "Proxy-Connection: keep-alive"): After.CLOSED,
}


def _answered(
    name: str, rfc: str, data: str, *answers: Answer, after: After = After.OPEN, later: str = ""
) -> Case:
    return Case(name=name, rfc=rfc, data=data, answers=answers, after=after, later=later)


def _cases() -> Iterator[Case]:
    for (version, *lines), after in OPTIONS.items():
        seen = Seen(version=version)
        case = served(
            f"HTTP/{version} {', '.join(lines)}",
            "9112 9.3",
            request(*lines, version=version),
            seen,
            after=after,
        )
        said = "close" if after is After.CLOSED else "keep-alive" if version == "1.0" else None
        yield replace(case, answers=(replace(case.answers[0], headers={"connection": said}),))
    yield from _pipelines()
    yield from _expectations()
    yield from _upgrades()


def _pipelines() -> Iterator[Case]:
    yield served("3 in a row", "9112 9.3.2", request() * 3, GET, GET, GET)
    yield served("20 in a row", "9112 9.3.2", request() * 20, *[GET] * 20)
    yield served(
        "methods and framings in a row",
        "9112 9.3.2",
        post("Content-Length: 5", body="hello")
        + request()
        + chunked("2\r\nhi\r\n0\r\n\r\n")
        + post()
        + request(method="HEAD"),
        posted("hello"),
        GET,
        posted("hi"),
        posted(),
        Seen(method="HEAD"),
    )
    yield served("empty lines between", "9112 2.2", request() + "\r\n\r\n" + request(), GET, GET)
    yield served(
        "HTTP/1.0 in a row", "9112 9.3", request("Connection: keep-alive", version="1.0") * 2, OLD, OLD
    )
    yield served(
        "nothing after close", "9112 9.6", request("Connection: close") + request(), GET, after=After.CLOSED
    )
    yield served(
        "nothing after HTTP/1.0", "9112 9.3", request(version="1.0") + request(), OLD, after=After.CLOSED
    )
    yield refused(
        "an error behind a request", "9112 9.3.2", request() + "nonsense\r\n\r\n" + request(), before=(GET,)
    )
    yield refused(
        "an error behind a body",
        "9112 9.3.2",
        post("Content-Length: 2", body="hi") + request("X : a"),
        before=(posted("hi"),),
    )
    yield refused(
        "a body longer than its length",
        "9112 6.3",
        post("Content-Length: 2", body="h\0GET / X\r\n\r\n"),
        before=(posted("h\0"),),
    )
    yield refused(
        "chunks behind no coding", "9112 6.3", post(body="5\r\nhello\r\n0\r\n\r\n"), before=(posted(),)
    )
    yield _answered(
        "an unread body is skipped",
        "9112 9.3",
        post("Content-Length: 5", body="hello").replace(P, f"{P}/respond/whole"),
        Answer(status=OK, call=f"POST {P}/respond/whole", body="hello", headers={"connection": None}),
    )
    yield _answered(
        "an unread chunked body that has arrived is skipped",
        "9112 9.3",
        chunked("5\r\nhello\r\n0\r\n\r\n").replace(P, f"{P}/respond/whole"),
        Answer(status=OK, call=f"POST {P}/respond/whole", body="hello", headers={"connection": None}),
    )


def _expectations() -> Iterator[Case]:
    early = f"POST {P}/respond/whole"
    yield _answered(
        "100 before the body",
        "9110 10.1.1",
        post(CONTINUE, "Content-Length: 5"),
        Answer(status=OK, seen=posted("hello"), interim=(100,)),
        later="hello",
    )
    yield _answered(
        "100 before chunks",
        "9110 10.1.1",
        chunked("", CONTINUE),
        Answer(status=OK, seen=posted("hello"), interim=(100,)),
        later="5\r\nhello\r\n0\r\n\r\n",
    )
    yield _answered(
        "100 by another spelling",
        "9110 10.1.1",
        post("expect: 100-Continue", "Content-Length: 5"),
        Answer(status=OK, seen=posted("hello"), interim=(100,)),
        later="hello",
    )
    yield _answered(
        "no 100 without a body", "9110 10.1.1", request(CONTINUE), Answer(status=OK, seen=GET, interim=())
    )
    yield _answered(
        "no 100 before length 0",
        "9110 10.1.1",
        post(CONTINUE, "Content-Length: 0"),
        Answer(status=OK, seen=posted(), interim=()),
    )
    yield _answered(
        "no 100 to HTTP/1.0",
        "9110 10.1.1",
        post(CONTINUE, "Content-Length: 5", "Connection: keep-alive", version="1.0", body="hello"),
        Answer(status=OK, seen=posted("hello", version="1.0"), interim=()),
    )
    yield served(
        "a body that doesn't wait",
        "9110 10.1.1",
        post(CONTINUE, "Content-Length: 5", body="hello"),
        posted("hello"),
    )
    closed = _answered(
        "answered without the body: closed",
        "9110 10.1.1",
        post(CONTINUE, "Content-Length: 5").replace(P, f"{P}/respond/whole"),
        Answer(status=OK, call=early, body="hello", headers={"connection": "close"}),
        after=After.CLOSED,
    )
    yield replace(closed, stalls=True)
    yield _answered(
        "answered without the body, which comes all the same",
        "9110 10.1.1",
        post(CONTINUE, "Content-Length: 5").replace(P, f"{P}/respond/whole"),
        Answer(status=OK, call=early, body="hello", headers={"connection": "close"}),
        after=After.ENDED,
        later="hello",
    )
    yield _answered(
        "malformed chunks after 100",
        "9112 7.1",
        chunked("", CONTINUE),
        Answer(status=frozenset({400}), interim=(100,), headers={"connection": "close"}),
        after=After.CLOSED,
        later="zz\r\n",
    )
    yield truncated("closed after 100", "9112 8", post(CONTINUE, "Content-Length: 5"))
    for value in ("200-ok", "100-continue, x", "100-continue;q=1", "100", "", "100-continue,"):
        yield refused(
            f"Expect: {value}", "9110 10.1.1", post(f"Expect: {value}", "Content-Length: 1", body="x"), 417
        )
    yield refused("unknown expectation without a body", "9110 10.1.1", request("Expect: x"), 417)
    yield refused(
        "two expectations", "9110 10.1.1", post(CONTINUE, "Expect: x", "Content-Length: 1", body="x"), 417
    )
    yield refused(
        "too large a body is not asked for", "9110 10.1.1", post(CONTINUE, "Content-Length: 100001"), 413
    )
    yield served(
        "unknown expectation in HTTP/1.0",
        "9110 10.1.1",
        request("Expect: x", version="1.0"),
        OLD,
        after=After.CLOSED,
    )


def _upgrades() -> Iterator[Case]:
    for name, lines in {
        "h2c": (
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        ),
        "unknown": ("Connection: upgrade", "Upgrade: x/1"),
        "websocket without Connection": ("Upgrade: websocket", KEY, VERSION),
        "websocket with another option": ("Connection: keep-alive", "Upgrade: websocket", KEY, VERSION),
        "empty": ("Connection: upgrade", "Upgrade:"),
    }.items():
        yield served(f"upgrade ignored: {name}", "9110 7.8", request(*lines), GET)
    yield served(
        "upgrade of HTTP/1.0 ignored",
        "9110 7.8",
        request(*WEBSOCKET, KEY, VERSION, version="1.0"),
        OLD,
        after=After.CLOSED,
    )
    for name, lines, status in [
        ("no key", (VERSION,), 400),
        ("short key", (VERSION, "Sec-WebSocket-Key: abc"), 400),
        ("two keys", (VERSION, KEY, KEY), 400),
        ("no version", (KEY,), 400),
        ("two versions", (KEY, VERSION, VERSION), 400),
        ("version 8", (KEY, "Sec-WebSocket-Version: 8"), 426),
        ("length", (KEY, VERSION, "Content-Length: 5"), 400),
        ("chunked", (KEY, VERSION, "Transfer-Encoding: chunked"), 400),
    ]:
        yield refused(f"websocket: {name}", "6455 4.2.1", request(*WEBSOCKET, *lines), status)
    yield refused("websocket by POST", "6455 4.1", request(*WEBSOCKET, KEY, VERSION, method="POST"))


CASES = tuple(_cases())
