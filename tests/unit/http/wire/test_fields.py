"""The application's header fields: what becomes a line and what is refused."""

from typing import Any

import pytest

from hsrv.common.errors import AppError
from hsrv.http.wire import fields as module
from hsrv.http.wire.fields import collect


def test_fields_become_lines_in_their_order() -> None:
    fields = collect([(b"X-A", b"1"), (b"set-cookie", b"a"), [b"set-cookie", b"b\xe9\t"], (b"x-empty", b"")])
    assert fields.lines == b"x-a: 1\r\nset-cookie: a\r\nset-cookie: b\xe9\t\r\nx-empty: \r\n"


def test_headers_may_be_any_iterable() -> None:
    assert collect((b"x", b"%d" % number) for number in range(2)).lines == b"x: 0\r\nx: 1\r\n"


@pytest.mark.parametrize(
    "name",
    [b"Transfer-Encoding", b"connection", b"keep-alive", b"proxy-connection", b"te", b"content-length"],
)
def test_what_the_server_decides_is_not_passed_on(name: bytes) -> None:
    value = b"5" if name == b"content-length" else b"x"
    assert collect([(name, value), (b"x-a", b"1")]).lines == b"x-a: 1\r\n"


def test_the_content_length_is_read() -> None:
    assert collect([(b"Content-Length", b"012")]).content_length == 12
    assert collect([(b"content-length", b"5"), (b"content-length", b"5")]).content_length == 5


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"0x1", b"1 ", b"1, 1", b"one", b"1.0"])
def test_a_content_length_that_is_no_number_is_refused(value: bytes) -> None:
    with pytest.raises(AppError, match="content-length"):
        collect([(b"content-length", value)])


def test_contradictory_content_lengths_are_refused() -> None:
    with pytest.raises(AppError, match=r"contradictory content-length: \[b'5', b'6'\]"):
        collect([(b"content-length", b"5"), (b"Content-Length", b"6")])


@pytest.mark.parametrize(
    "name", [b"x-any", b"content-type", b"content-length", b"connection", b"upgrade", b"date"]
)
@pytest.mark.parametrize("bad", [b"\r\n", b"\r", b"\n", b"\0", b"\x7f", b"\r\nset-cookie: a=b", b"\x0b"])
def test_no_value_can_start_another_line(name: bytes, bad: bytes) -> None:
    for value in (bad, b"1" + bad, bad + b"1", b"1" + bad + b"1"):
        with pytest.raises(AppError, match="control character"):
            collect([(b"x-before", b"1"), (name, value), (b"x-after", b"1")])


@pytest.mark.parametrize("name", [b"", b"x y", b"x:", b"x\r\n", b" x", b"x\0", b"\xe9", b"x(y)"])
def test_a_name_is_a_token(name: bytes) -> None:
    with pytest.raises(AppError, match="invalid header name"):
        collect([(name, b"1")])


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("x-a", b"1", "str"),
        (b"x-a", "1", "str"),
        (b"content-length", "5", "str"),
        (b"content-length", 5, "int"),
        (b"x-a", 5, "int"),
        (b"x-a", None, "NoneType"),
        (bytearray(b"x-a"), b"1", "bytearray"),
        ([b"x-a"], b"1", "list"),
    ],
)
def test_names_and_values_are_bytes(name: Any, value: Any, kind: str) -> None:
    with pytest.raises(AppError, match=f"must be bytes, not {kind}"):
        collect([(b"x-good", b"1"), (name, value)])


@pytest.mark.parametrize("pair", [(b"x",), (b"x", b"1", b"2"), 5, None, b"xy"])
def test_a_header_is_a_pair(pair: Any) -> None:
    with pytest.raises(AppError, match="pair"):
        collect([pair])


def test_made_up_names_are_not_remembered_for_ever() -> None:
    for number in range(3000):
        assert collect([(b"x-%d" % number, b"1")]).lines == b"x-%d: 1\r\n" % number
    assert len(module._known) <= module._CACHE_SIZE
