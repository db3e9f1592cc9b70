"""`--bind`."""

import pytest

from hsrv.options.bindspec import Bind, FdBind, NamedBind, TcpBind, UnixBind, parse_bind


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8000", TcpBind("127.0.0.1", 8000)),
        (":8000", TcpBind("0.0.0.0", 8000)),
        ("localhost:0", TcpBind("localhost", 0)),
        ("*:80", TcpBind("*", 80)),
        ("[::1]:65535", TcpBind("::1", 65535)),
        ("unix:/run/app.sock", UnixBind("/run/app.sock")),
        ("unix:relative:odd", UnixBind("relative:odd")),
        ("fd:3", FdBind(3)),
        ("fd://web", NamedBind("web")),
        ("fd://hsrv@app.socket", NamedBind("hsrv@app.socket")),
    ],
)
def test_each_form(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "host:",
        "host:http",
        "host:65536",
        "::1:80",
        "unix:",
        "fd:",
        "fd:x",
        "fd://",
        "fd:2147483648",
    ],
)
def test_what_is_none_of_them_is_told_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_bind(text)


@pytest.mark.parametrize("text", ["http://127.0.0.1:80", "/run/app.sock"])
def test_a_url_or_a_path_is_not_taken_for_a_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither a URL nor a plain path.*unix:PATH"):
        parse_bind(text)


@pytest.mark.parametrize("text", ["unix:/a\0b", "a\0b:80"])
def test_a_nul_never_reaches_a_system_call(text: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        parse_bind(text)
