"""A request head as a WSGI environ (PEP 3333): the only place that makes one. Pure.

Promises: an environ is complete but for what belongs to one call (`wsgi.input`, `wsgi.early_hints`), and no two share
anything that the application may change. Names and values are native strings of latin-1 (PEP 3333, "Unicode issues").
No field may pose as another: names with an underscore are the parser's business (`--header-map`), Proxy is left out
(httpoxy, CVE-2016-5385), and the length and coding of the body are ours to tell, as it is decoded before the call.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from hsrv.common.asgi import Scope
from hsrv.common.request import RequestHead
from hsrv.common.version import __version__
from hsrv.http.request.scope import ScopeBuilder
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.ipc.messages import Origin

_CACHE_SIZE: Final = 1024
"""Field names whose variable is remembered. Clients choose them, so there is a limit."""

_OURS: Final = ("content-length", "transfer-encoding", "proxy")
"""Fields that don't become variables."""

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class EnvironBuilder(ScopeBuilder):
    """What the environs of a process have in common. To a host it is what builds its scopes."""

    def __init__(
        self,
        *,
        root_path: str,
        proxies: TrustedProxies,
        extension: dict[str, Any],
        multithread: bool,
        file_wrapper: Any,
    ) -> None:
        """`multithread`: whether the application may be called in several threads of this process at a time."""
        super().__init__(root_path=root_path, proxies=proxies, extension=extension)
        self._common: dict[str, Any] = {
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": file_wrapper,
            "SERVER_SOFTWARE": "hsrv/" + __version__,
            "SCRIPT_NAME": root_path.rstrip("/").encode().decode("latin-1"),
        }
        self._process = extension

    def http(self, head: RequestHead, origin: Origin, state: Mapping[str, Any]) -> Scope:
        """The environ of a request. `state`: of a lifespan, which WSGI has not."""
        client, scheme = origin.client, "https" if origin.tls else "http"
        if head.marked:
            client, scheme = self._proxies.resolve(client, scheme, head.headers)
        raw_path = head.raw_path
        path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
        target = head.target.decode("latin-1")
        environ: dict[str, Any] = self._common.copy()
        environ["REQUEST_METHOD"] = head.method
        environ["PATH_INFO"] = path.decode("latin-1")
        environ["QUERY_STRING"] = head.query.decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = target
        environ["SERVER_PROTOCOL"] = "HTTP/" + head.http_version
        environ["wsgi.url_scheme"] = scheme
        environ["hsrv.process"] = self._process.copy()
        _add_fields(environ, head)
        _add_addresses(environ, client, origin, scheme)
        return environ


def _add_fields(environ: dict[str, Any], head: RequestHead) -> None:
    """CGI/1.1 variables of the header fields (RFC 3875 section 4.1.18)."""
    for name, value in head.headers:
        variable = _variables.get(name)
        if variable is None:
            variable = _learn(name)
        if not variable:
            continue
        text = value.decode("latin-1")
        if variable in environ:  # RFC 9110 section 5.3; of cookies RFC 9113 section 8.2.3 says how
            text = environ[variable] + ("; " if variable == "HTTP_COOKIE" else ",") + text
        environ[variable] = text
    if head.content_length is not None:
        environ["CONTENT_LENGTH"] = str(head.content_length)


def _add_addresses(
    environ: dict[str, Any], client: tuple[str, int | None] | None, origin: Origin, scheme: str
) -> None:
    """Of both ends. PEP 3333: neither SERVER_NAME nor SERVER_PORT is ever empty; a Unix socket has none of its own."""
    if client is not None:
        environ["REMOTE_ADDR"] = client[0]
        environ["REMOTE_PORT"] = str(client[1] or 0)
    else:
        environ["REMOTE_ADDR"] = ""
    server = origin.server
    if server is not None and server[1] is not None:
        environ["SERVER_NAME"] = server[0]
        environ["SERVER_PORT"] = str(server[1])
        return
    name, _, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not name or not port.isdigit():
        name, port = name + port if not name else environ.get("HTTP_HOST", ""), ""
    environ["SERVER_NAME"] = name or "localhost"
    environ["SERVER_PORT"] = port or _DEFAULT_PORTS[scheme]


def note_route(environ: Any) -> None:
    """What the framework made of the path: for the pattern that is learned of a stream, and for events. Flask forgets
    it as soon as its view has returned."""
    request = environ.get("werkzeug.request")
    route = request.url_rule if request is not None else environ.get("bottle.route")
    if route is None:
        return
    environ["hsrv.route"] = route.rule
    environ["hsrv.path_params"] = request.view_args if request is not None else environ.get("route.url_args")


def _learn(name: bytes) -> str:
    """The variable of a field that was not seen before; "": none."""
    text = name.decode("latin-1").lower()
    if text in _OURS:
        variable = ""
    elif text == "content-type":
        variable = "CONTENT_TYPE"
    else:
        variable = "HTTP_" + text.upper().replace("-", "_")
    if len(_variables) < _CACHE_SIZE:
        _variables[name] = variable
    return variable


_variables: Final[dict[bytes, str]] = {}
