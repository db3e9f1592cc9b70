"""`--bind`."""

import pytest

from hsrv.bindspec import Bind, FdBind, TcpBind, UnixBind, parse_bind


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8000", TcpBind("127.0.0.1", 8000)),
        (":8000", TcpBind("0.0.0.0", 8000)),
        ("localhost:0", TcpBind("localhost", 0)),
        ("[::1]:65535", TcpBind("::1", 65535)),
        ("unix:/run/app.sock", UnixBind("/run/app.sock")),
        ("unix:relative:odd", UnixBind("relative:odd")),
        ("fd:3", FdBind(3)),
    ],
)
def test_each_form(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind


@pytest.mark.parametrize(
    "text", ["", "localhost", "host:", "host:http", "host:65536", "::1:80", "unix:", "fd:", "fd:x"]
)
def test_what_is_none_of_them_is_told_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_bind(text)
