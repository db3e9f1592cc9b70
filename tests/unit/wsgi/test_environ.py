"""The environ of a head: what is special about it."""

from typing import Any

import pytest

from hsrv.common.terms import HeaderMap
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.http.wire.head import HeadLimits, take_head
from hsrv.http.wire.parser import choose_parser
from hsrv.ipc.messages import Origin
from hsrv.wsgi.environ import EnvironBuilder, note_route

LIMITS = HeadLimits(request_line=8192, head=65536, fields=64, body=1 << 20, header_map=HeaderMap.DROP)


def environ(
    target: str = "/", *fields: str, root_path: str = "", server: tuple[str, int | None] = ("::1", 80)
) -> dict[str, Any]:
    lines = [f"GET {target} HTTP/1.1", *fields]
    head = take_head(
        bytearray("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"), 0, choose_parser("auto"), LIMITS
    )
    assert head is not None
    builder = EnvironBuilder(
        root_path=root_path,
        proxies=TrustedProxies(["unix"]),
        extension={"role": "worker"},
        multithread=False,
        file_wrapper=list,
    )
    found = builder.http(head, Origin(client=None, server=server, accepted_at=0.0), {})
    assert type(found) is dict
    return found


def test_paths_are_bytes_as_latin_1() -> None:
    seen = environ("/caf%C3%A9/%FF?q=%C3%A9", "Host: a", root_path="/r\xe4um/")
    assert seen["PATH_INFO"] == "/caf\xc3\xa9/\xff"
    assert seen["SCRIPT_NAME"] == "/r\xc3\xa4um"
    assert seen["QUERY_STRING"] == "q=%C3%A9"


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("a.example", "a.example", "80"),
        ("a.example:81", "a.example", "81"),
        ("[::1]:81", "[::1]", "81"),
        ("[::1]", "[::1]", "80"),
        ("", "localhost", "80"),
    ],
)
def test_at_a_unix_socket_the_client_says_how_the_server_is_called(host: str, name: str, port: str) -> None:
    seen = environ("/", f"Host: {host}", server=("/run/app.sock", None))
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == (name, port)
    assert seen["REMOTE_ADDR"] == ""


def test_no_two_share_what_may_be_changed() -> None:
    first, second = environ("/", "Host: a"), environ("/", "Host: a")
    first["hsrv.process"]["role"] = "changed"
    assert second["hsrv.process"] == {"role": "worker"}


def test_fields_that_would_pose_as_others_are_left_out() -> None:
    seen = environ("/", "Host: a", "Proxy: evil", "Content_Length: 9", "Content-Type: text/x")
    assert {"HTTP_PROXY", "CONTENT_LENGTH", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"}.isdisjoint(seen)
    assert seen["CONTENT_TYPE"] == "text/x"


def test_a_route_is_noted_once_there_is_one() -> None:
    class Rule:
        rule = "/items/<id>"

    class Request:
        url_rule: Rule | None = None
        view_args = None

    seen: dict[str, Any] = {"werkzeug.request": Request()}
    note_route(seen)
    assert "hsrv.route" not in seen
    request = seen["werkzeug.request"]
    request.url_rule, request.view_args = Rule(), {"id": 7}
    note_route(seen)
    assert (seen["hsrv.route"], seen["hsrv.path_params"]) == ("/items/<id>", {"id": 7})
