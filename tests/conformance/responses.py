"""What the application sends, right and wrong: RFC 9112 sections 6 and 7, RFC 9110 sections 6.4, 8.6 and 15.

The scripts are in `app`.
"""

from collections.abc import Iterator, Mapping

from tests.conformance.case import After, Answer, Case, Framing, P, request

REFUSED = {
    # script: RFC section
    **dict.fromkeys(
        (
            "value-crlf",
            "value-crlf-body",
            "value-cr",
            "value-lf",
            "value-nul",
            "value-vt",
            "value-del",
            "value-type-crlf",
            "value-date-crlf",
            "value-upgrade-crlf",
            "value-dropped-crlf",
            "value-text",
            "name-text",
            "no-pair",
        ),
        "9110 5.5",
    ),
    **dict.fromkeys(
        (
            "name-crlf",
            "name-lf",
            "name-colon",
            "name-space",
            "name-trailing-space",
            "name-empty",
            "name-latin",
        ),
        "9110 5.1",
    ),
    **dict.fromkeys(
        (
            "length-twice-different",
            "length-plus",
            "length-list",
            "length-negative",
            "length-empty",
            "length-huge",
        ),
        "9110 8.6",
    ),
    **dict.fromkeys(("too-long", "too-short"), "9112 6.3"),
    **dict.fromkeys(
        ("status-99", "status-100", "status-101", "status-600", "status-1000", "status-text", "status-none"),
        "9110 15",
    ),
    **dict.fromkeys(
        (
            "hint-crlf",
            "silent",
            "raise",
            "raise-started",
            "body-first",
            "start-twice",
            "body-text",
            "unknown",
        ),
        "9110 15.6.1",
    ),
}
CUT = ("too-short-parts", "too-short-silent", "raise-parts", "unfinished", "trailer-crlf", "start-late")
HELLO = {
    # script: framing of "hello"
    "whole": Framing.LENGTH,
    "length": Framing.LENGTH,
    "length-twice-equal": Framing.LENGTH,
    "parts": Framing.CHUNKED,
    "parts-last": Framing.CHUNKED,
    "parts-empty": Framing.CHUNKED,
    "parts-length": Framing.LENGTH,
    "coding": Framing.LENGTH,
    "coding-parts": Framing.CHUNKED,
    "coding-length": Framing.LENGTH,
}
EMPTY = {
    # script: status, Content-Length
    "204": (204, None),
    "204-length": (204, None),
    "204-parts": (204, None),
    "205": (205, "0"),
    "205-parts": (205, "0"),
    "304": (304, None),
    "304-length": (304, "5"),
    "304-parts": (304, None),
}
FRAMING = ("content-length", "transfer-encoding")


def _respond(
    script: str,
    rfc: str,
    *fields: str,
    name: str = "",
    status: int = 200,
    method: str = "GET",
    version: str = "1.1",
    framing: Framing | None = None,
    headers: Mapping[str, str | None] | None = None,
    body: str | None = None,
    interim: tuple[int, ...] = (),
    cut: bool = False,
    after: After = After.OPEN,
    log: str | None = None,
) -> Case:
    path = f"{P}/respond/{script}"
    answer = Answer(
        status=frozenset({status}),
        call=f"{method} {path}",
        method=method,
        framing=framing,
        headers=headers or {},
        body=body,
        interim=interim,
        cut=cut,
    )
    data = request(*fields, method=method, target=path, version=version)
    return Case(name=f"{script}{name}", rfc=rfc, data=data, answers=(answer,), after=after, log=log)


def _cases() -> Iterator[Case]:
    for script, rfc in REFUSED.items():
        log = "application raised"
        if script == "silent":
            log = "application returned without completing its response"
        yield _respond(
            script,
            rfc,
            status=500,
            framing=Framing.LENGTH,
            headers={"connection": "close", "x-a": None, "set-cookie": None},
            body="Internal Server Error\n",
            after=After.CLOSED,
            log=log,
        )
    for script in CUT:
        yield _respond(script, "9112 8", cut=True, after=After.ENDED)
    yield _respond(
        "too-long-parts",
        "9112 6.3",
        framing=Framing.LENGTH,
        body="hel",
        after=After.ENDED,
        log="application raised",
    )
    for script in ("raise-complete", "body-late"):
        yield _respond(script, "9112 9.3", body="hello", log="application raised")
    yield from _framings()
    yield from _without_body()
    yield from _fields()


def _framings() -> Iterator[Case]:
    for script, framing in HELLO.items():
        declared = dict.fromkeys(FRAMING)
        declared |= {"content-length": "5"} if framing is Framing.LENGTH else {"transfer-encoding": "chunked"}
        yield _respond(script, "9112 6", framing=framing, headers=declared, body="hello")
        old = Framing.LENGTH if framing is Framing.LENGTH else Framing.CLOSE
        yield _respond(
            script,
            "9112 6.1, 6.3",
            name=" to HTTP/1.0",
            version="1.0",
            framing=old,
            headers={"connection": "close", "transfer-encoding": None},
            body="hello",
            after=After.CLOSED,
        )
    kept = "Connection: keep-alive"
    yield _respond(
        "whole",
        "9112 9.3",
        kept,
        name=" to HTTP/1.0, kept",
        version="1.0",
        framing=Framing.LENGTH,
        headers={"connection": "keep-alive"},
    )
    yield _respond(
        "parts",
        "9112 9.3",
        kept,
        name=" to HTTP/1.0, not kept",
        version="1.0",
        framing=Framing.CLOSE,
        headers={"connection": "close"},
        body="hello",
        after=After.CLOSED,
    )
    yield _respond("empty", "9110 8.6", framing=Framing.LENGTH, headers={"content-length": "0"}, body="")
    yield _respond("big", "9112 7.1", framing=Framing.CHUNKED, body="x" * 150_000)
    yield _respond("499", "9110 15", status=499, body="hello")


def _without_body() -> Iterator[Case]:
    for script, (status, size) in EMPTY.items():
        for method in ("GET", "HEAD"):
            if script == "205" or status != 205:
                yield _respond(
                    script,
                    "9110 6.4.1, 8.6, 15.3.5, 15.3.6, 15.4.5",
                    name=f" to {method}",
                    status=status,
                    method=method,
                    headers={"transfer-encoding": None}
                    | ({} if method == "HEAD" and status == 304 else {"content-length": size}),
                    body="",
                )
    yield _respond(
        "205-parts",
        "9110 15.3.6",
        status=205,
        headers={"content-length": "0", "transfer-encoding": None},
        body="",
    )
    for script, size in {
        "whole": "5",
        "length": "5",
        "parts": None,
        "parts-length": "5",
        "empty": None,
        "coding": "5",
    }.items():
        headers = {} if script == "empty" else {"content-length": size}
        yield _respond(script, "9110 9.3.2", name=" to HEAD", method="HEAD", headers=headers, body="")
    yield _respond(
        "too-long", "9110 9.3.2", name=" to HEAD", method="HEAD", headers={"content-length": "4"}, body=""
    )
    yield _respond(
        "raise",
        "9110 9.3.2",
        name=" to HEAD",
        method="HEAD",
        status=500,
        headers={"connection": "close"},
        after=After.CLOSED,
    )


def _fields() -> Iterator[Case]:
    yield _respond("close", "9112 9.6", headers={"connection": "close"}, body="hello", after=After.CLOSED)
    yield _respond("keep", "9112 9.3", headers={"connection": None}, body="hello")
    yield _respond(
        "hops",
        "9110 7.6.1",
        headers=dict.fromkeys(("connection", "keep-alive", "proxy-connection", "te", "upgrade")),
        body="hello",
    )
    yield _respond(
        "426", "9110 15.5.22", status=426, headers={"upgrade": "h9", "connection": "upgrade"}, body="hello"
    )
    yield _respond(
        "date", "9110 6.6.1, 10.2.4", headers={"date": "Thu, 01 Jan 1970 00:00:00 GMT", "server": "mine"}
    )
    yield _respond("latin", "9110 5.5", headers={"x-a": "caf\xe9\ttab"})
    yield _respond("hint", "8297 2", interim=(103,), headers={"link": None}, body="hello")
    yield _respond("hint", "9110 15.2", name=" to HTTP/1.0", version="1.0", body="hello", after=After.CLOSED)
    yield _respond("trailers", "9110 6.5", framing=Framing.CHUNKED, body="hello", headers={"x-t": None})
    yield _respond(
        "trailers",
        "9110 6.5.1",
        name=" to HTTP/1.0",
        version="1.0",
        headers={"x-t": None},
        body="hello",
        after=After.CLOSED,
    )


CASES = tuple(_cases())
