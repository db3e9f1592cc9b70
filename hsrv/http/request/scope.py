"""A request head as an ASGI scope: the only place that makes one. Pure.

Promises: scopes are complete (ASGI HTTP and WebSocket) and no two share anything that the
application may change, except the values of the lifespan state, which are shared on purpose.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from hsrv.common.asgi import HTTP_SPEC_VERSION, WEBSOCKET_SPEC_VERSION, Scope
from hsrv.common.request import RequestHead
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.ipc.messages import Origin

_HTTP_ASGI: Final = {"version": "3.0", "spec_version": HTTP_SPEC_VERSION}
_WEBSOCKET_ASGI: Final = {"version": "3.0", "spec_version": WEBSOCKET_SPEC_VERSION}


class ScopeBuilder:
    """What all scopes of a process have in common.

    `root_path` is put before the path of every request: an application that is mounted there sees the whole
    path (ASGI HTTP spec 2.4), though the proxy in front removed the prefix.
    `extension` is scope["extensions"]["hsrv"].
    """

    def __init__(self, *, root_path: str, proxies: TrustedProxies, extension: dict[str, Any]) -> None:
        self._root_path = root_path.rstrip("/")
        self._raw_root_path = quote(self._root_path).encode()
        self._proxies = proxies
        self._extension = extension

    def http(self, head: RequestHead, origin: Origin, state: Mapping[str, Any]) -> Scope:
        """The scope of a request."""
        client, scheme = origin.client, "https" if origin.tls else "http"
        if head.marked:
            client, scheme = self._proxies.resolve(client, scheme, head.headers)
        path, raw_path = head.path, head.raw_path
        if self._root_path and path != "*":
            path = self._root_path + path
            raw_path = self._raw_root_path + raw_path
        extensions: dict[str, Any] = {"http.response.pathsend": {}, "hsrv": self._extension.copy()}
        if head.http_version != "1.0":  # which has no place for these
            extensions["http.response.early_hint"] = {}
            extensions["http.response.trailers"] = {}
        return {
            "type": "http",
            "asgi": _HTTP_ASGI.copy(),
            "http_version": head.http_version,
            "method": head.method,
            "scheme": scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": head.query,
            "root_path": self._root_path,
            "headers": head.headers.copy(),
            "client": client,
            "server": origin.server,
            "state": dict(state),
            "extensions": extensions,
        }

    def websocket(self, head: RequestHead, origin: Origin, state: Mapping[str, Any]) -> Scope:
        """The scope of a WebSocket connection."""
        scope = self.http(head, origin, state)
        del scope["method"]
        scope["type"] = "websocket"
        scope["asgi"] = _WEBSOCKET_ASGI.copy()
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["subprotocols"] = _subprotocols(head)
        scope["extensions"] = {"websocket.http.response": {}, "hsrv": self._extension.copy()}
        return scope


def _subprotocols(head: RequestHead) -> list[str]:
    """In the client's order of preference (RFC 6455 section 11.3.4: the field may be repeated)."""
    return [
        part.strip(b" \t").decode("latin-1")
        for name, value in head.headers
        if name == b"sec-websocket-protocol"
        for part in value.split(b",")
        if part.strip(b" \t")
    ]
