"""Requests that never end: RFC 9110 section 15.5.9. Their server has short timeouts."""

from tests.conformance.case import After, Answer, Case, P, chunked, post, request

_INCOMPLETE = {
    "method": "GE",
    "target": f"GET {P}",
    "request line": f"GET {P} HTTP/1.1\r\n",
    "fields": f"GET {P} HTTP/1.1\r\nHost: a\r\n",
    "last line": f"GET {P} HTTP/1.1\r\nHost: a\r\n\r",
    "lines by CR": f"GET {P} HTTP/1.1\rHost: a\r\r",
    "empty lines": "\r\n\r\nG",
    "body": post("Content-Length: 5", body="hell"),
    "no body": post("Content-Length: 5"),
    "size": chunked("5"),
    "chunk": chunked("5\r\nhel"),
    "last chunk": chunked("5\r\nhello\r\n0"),
    "end of the chunks": chunked("5\r\nhello\r\n0\r\n"),
    "trailer": chunked("0\r\nX-T: a\r\n"),
}


def _stalled(name: str, data: str, *, interim: tuple[int, ...] = ()) -> Case:
    answer = Answer(status=frozenset({408}), headers={"connection": "close"}, interim=interim)
    return Case(name=name, rfc="9110 15.5.9", data=data, answers=(answer,), after=After.CLOSED, stalls=True)


CASES = (
    *(_stalled(f"incomplete {name}", data) for name, data in _INCOMPLETE.items()),
    _stalled("body after 100", post("Expect: 100-continue", "Content-Length: 5"), interim=(100,)),
    Case(
        name="empty lines alone",
        rfc="9112 2.2",
        data="\r\n\r\n",
        answers=(),
        after=After.CLOSED,
        stalls=True,
    ),
    Case(
        name="nothing after a request",
        rfc="9112 9.5",
        data=request(target=f"{P}/respond/whole"),
        answers=(Answer(status=frozenset({200}), call=f"GET {P}/respond/whole", body="hello"),),
        after=After.CLOSED,
        stalls=True,
    ),
)
