"""Responses: whatever an application sends, AppError or what h11's client reads back as the application meant it."""

from typing import Any

import h11
from hypothesis import strategies as st

from hsrv.common.errors import AppError
from hsrv.http.wire.response import ResponseEncoder
from tests.fuzz import past
from tests.fuzz.targets import Target

DEFAULTS = b"server: hsrv\r\ndate: now\r\n"

Input = tuple[str, str, bool, list[dict[str, Any]]]


def check(data: Input) -> None:
    method, version, keep_alive, messages = data
    encoder = ResponseEncoder(method, version, keep_alive=keep_alive)
    wire, body = b"", b""
    for message in messages:
        try:
            wire += apply(encoder, message)
        except AppError:
            continue
        if message["type"] == "http.response.body":
            body += bytes(message.get("body", b""))
    if wire:
        read_back(method, encoder, wire, body)


def apply(encoder: ResponseEncoder, message: dict[str, Any]) -> bytes:
    kind = message["type"]
    if kind == "http.response.start":
        encoder.start(message)
        return b""
    if kind == "http.response.body":
        return b"".join(encoder.body(message, DEFAULTS))
    if kind == "http.response.early_hint":
        return encoder.early_hint(message)
    return encoder.trailers(message)


def read_back(method: str, encoder: ResponseEncoder, wire: bytes, body: bytes) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(wire)
    got, response = b"", None
    while True:
        event = client.next_event()
        if isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            got += event.data
        elif not isinstance(event, h11.InformationalResponse):
            break
    if response is None:
        assert not encoder.started
        return
    names = [name for name, _ in response.headers]
    assert b"x-evil" not in names
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    closes = (b"connection", b"close") in list(response.headers)
    assert closes is not encoder.keep_alive
    assert response.status_code == encoder.status
    has_body = method != "HEAD" and encoder.status not in (204, 205, 304)
    assert got == (body if has_body else b"")
    if encoder.complete and (
        encoder.keep_alive or b"content-length" in names or b"transfer-encoding" in names
    ):
        assert isinstance(event, h11.EndOfMessage)
        assert client.trailing_data[0] == b""
    elif not encoder.complete and b"transfer-encoding" in names and method != "HEAD":
        assert event is h11.NEED_DATA


_odd: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        5,
        -1,
        1.5,
        "text",
        "200",
        b"",
        b"x",
        [],
        {},
        True,
        (),
        object(),
        bytearray(b"ab"),
        memoryview(b"abc"),
    ]
)
_name: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            b"content-type",
            b"X-A",
            b"Content-Length",
            b"connection",
            b"transfer-encoding",
            b"upgrade",
            b"date",
            b"Server",
        ),
        *(b"x a", b"", b"x:", b"x\r\ny", b"\xff", b"keep-alive", b"te", "text", None, 5, [], bytearray(b"x")),
    ]
)
_value: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            b"a",
            b"",
            b"5",
            b"0",
            b"close",
            b"keep-alive, Close",
            b"chunked",
            b"text/event-stream",
            b" a ",
            b"\xff",
        ),
        *(
            b"a\r\nx-evil: 1",
            b"a\nx-evil: 1",
            b"\x00",
            b"99999999999999999999",
            b"+5",
            "text",
            None,
            7,
            [],
            bytearray(b"x"),
        ),
    ]
)
_pair: st.SearchStrategy[Any] = st.tuples(_name, _value) | st.tuples(_name, _value).map(list) | _odd
_headers = st.lists(st.tuples(st.just(b"x"), _value), max_size=2) | st.lists(_pair, max_size=3) | _odd
_body = st.sampled_from(
    [b"", b"a", b"hello", b"x" * 20000, bytearray(b"ab"), memoryview(b"abc"), "text", None, 5]
)
_flag: st.SearchStrategy[Any] = st.booleans() | _odd


def _message(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=fields)


_start = st.fixed_dictionaries(
    {
        "type": st.just("http.response.start"),
        "status": st.sampled_from([200, 200, 204, 205, 304, 404, 426, 599, 299]),
    },
    optional={"headers": _headers, "trailers": _flag},
)
_odd_start = _message("http.response.start", status=_odd | st.integers(), headers=_headers, trailers=_flag)
_any = (
    _start
    | _odd_start
    | _message("http.response.body", body=_body, more_body=_flag)
    | _message("http.response.early_hint", links=st.lists(_value, max_size=2) | _odd)
    | _message("http.response.trailers", headers=_headers, more_trailers=_flag)
)
_bodies = st.lists(_message("http.response.body", body=_body, more_body=_flag), max_size=4)
_usual = st.builds(lambda start, rest, end: [start, *rest, *end], _start, _bodies, st.lists(_any, max_size=2))

TARGET = Target(
    "responses",
    st.tuples(
        st.sampled_from(["GET", "POST", "HEAD"]),
        st.sampled_from(["1.1", "1.1", "1.0"]),
        st.booleans(),
        _usual | st.lists(_any, max_size=6),
    ),
    check,
    past.RESPONSES,
)
