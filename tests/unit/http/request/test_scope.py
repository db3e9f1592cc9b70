"""Heads to ASGI scopes."""

from typing import Any

import msgspec
import pytest

from hsrv.common.request import RequestHead
from hsrv.http.request.scope import ScopeBuilder
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.ipc.messages import Origin

ORIGIN = Origin(client=("9.8.7.6", 1234), server=("127.0.0.1", 80), accepted_at=0.0)
HEAD = RequestHead(
    method="GET",
    target=b"/a%20b?x=%20",
    path="/a b",
    raw_path=b"/a%20b",
    query=b"x=%20",
    http_version="1.1",
    headers=[
        (b"host", b"a"),
        (b"sec-websocket-protocol", b"one, two"),
        (b"sec-websocket-protocol", b"three,"),
    ],
    content_length=None,
    chunked=False,
    keep_alive=True,
    expect_continue=False,
    websocket=False,
    event_stream=False,
)


def builder(root_path: str = "", trusted: str = "127.0.0.1") -> ScopeBuilder:
    return ScopeBuilder(
        root_path=root_path, proxies=TrustedProxies([trusted]), extension={"role": "worker", "slot": 1}
    )


def test_an_http_scope_is_complete() -> None:
    assert builder().http(HEAD, ORIGIN, {"db": 1}) == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"x=%20",
        "root_path": "",
        "headers": HEAD.headers,
        "client": ("9.8.7.6", 1234),
        "server": ("127.0.0.1", 80),
        "state": {"db": 1},
        "extensions": {
            "http.response.pathsend": {},
            "http.response.early_hint": {},
            "http.response.trailers": {},
            "hsrv": {"role": "worker", "slot": 1},
        },
    }


def test_a_websocket_scope_is_complete() -> None:
    assert builder().websocket(HEAD, ORIGIN, {}) == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"x=%20",
        "root_path": "",
        "headers": HEAD.headers,
        "client": ("9.8.7.6", 1234),
        "server": ("127.0.0.1", 80),
        "subprotocols": ["one", "two", "three"],
        "state": {},
        "extensions": {"websocket.http.response": {}, "hsrv": {"role": "worker", "slot": 1}},
    }


def test_http_1_0_is_offered_no_extension_that_it_has_no_place_for() -> None:
    scope = builder().http(msgspec.structs.replace(HEAD, http_version="1.0"), ORIGIN, {})
    assert set(scope["extensions"]) == {"http.response.pathsend", "hsrv"}


def test_tls_shows_in_the_scheme() -> None:
    origin = msgspec.structs.replace(ORIGIN, tls=True)
    assert builder().http(HEAD, origin, {})["scheme"] == "https"
    assert builder().websocket(HEAD, origin, {})["scheme"] == "wss"


def test_a_trusted_proxy_tells_client_and_scheme() -> None:
    headers = [(b"forwarded", b"for=1.2.3.4;proto=https")]
    head = msgspec.structs.replace(HEAD, headers=headers)
    scope = builder(trusted="9.8.7.6").websocket(head, ORIGIN, {})
    assert (scope["client"], scope["scheme"]) == (("1.2.3.4", 0), "wss")
    assert scope["headers"] == headers


@pytest.mark.parametrize(
    ("root_path", "shown", "path", "raw_path"),
    [
        ("/api", "/api", "/api/a b", b"/api/a%20b"),
        ("/api/", "/api", "/api/a b", b"/api/a%20b"),
        ("/ä", "/ä", "/ä/a b", b"/%C3%A4/a%20b"),
        ("/", "", "/a b", b"/a%20b"),
    ],
)
def test_the_root_path_is_put_before_the_path(root_path: str, shown: str, path: str, raw_path: bytes) -> None:
    scope = builder(root_path).http(HEAD, ORIGIN, {})
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (shown, path, raw_path)


def test_the_asterisk_has_no_root_path() -> None:
    head = msgspec.structs.replace(HEAD, method="OPTIONS", target=b"*", path="*", raw_path=b"*")
    assert builder("/api").http(head, ORIGIN, {})["path"] == "*"


def test_scopes_share_nothing_that_an_application_may_change() -> None:
    scopes = builder()
    value: list[int] = []
    state: dict[str, Any] = {"shared": value}

    def spoil(scope: Any) -> None:
        scope["headers"].clear()
        scope["asgi"].clear()
        scope["extensions"]["hsrv"].clear()
        scope["extensions"].clear()
        scope["state"]["mine"] = 1
        scope["state"]["shared"].append(1)

    spoil(scopes.http(HEAD, ORIGIN, state))
    spoil(scopes.websocket(HEAD, ORIGIN, state))
    assert state == {"shared": [1, 1]}
    again = scopes.http(HEAD, ORIGIN, state)
    assert again["headers"] == HEAD.headers != []
    assert again["asgi"]["version"] == "3.0"
    assert again["extensions"]["hsrv"]["slot"] == 1
    assert again["state"]["shared"] is value
