"""Access to the admin address. Pure.

With DNS rebinding an attacker's name resolves to this address, and the attacker's page can read our responses. The name
is in the Host field, so unknown names are refused. A literal address can't be rebound.
"""

import hmac
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from hsrv.supervisor.admin.http.route import AdminRoute, Response, problem

ANY: Final = "*"
"""As a name: any name is allowed."""

_SAFE: Final = ("GET", "HEAD")


class Guard:
    """The access rules of one server."""

    def __init__(self, *, token: str = "", names: Collection[str] = (), writable: bool = False) -> None:
        """`token`: "" for none; `names`: allowed in the Host field; `writable`: --admin-write."""
        self._token = token.encode()
        self._names = frozenset(_plain(name) for name in names)
        self._writable = writable

    def refusal(
        self, route: AdminRoute | None, method: str, headers: Mapping[str, str], *, local: bool
    ) -> Response | None:
        """The response to a request without access; None if it has access. `local`: it came over a Unix socket, which
        browsers can't reach."""
        if not local and (why := self._misdirected(method, headers)) is not None:
            return why
        if (route is None or not route.public) and not self._knows_token(headers):
            return problem(401, "a bearer token is needed", {"www-authenticate": 'Bearer realm="hsrv"'})
        if route is None:
            return problem(404, "there is nothing here")
        if method not in route.allowed:
            return problem(405, "not with this method", {"allow": ", ".join(route.allowed)})
        if route.writes and not self._writable:
            return problem(403, "the server was started without --admin-write")
        return None

    def _misdirected(self, method: str, headers: Mapping[str, str]) -> Response | None:
        host = headers.get("host", "")
        if host and not self._is_ours(host):
            name = _plain(host)
            return problem(421, f"the name {name!r} is not allowed: allow it with --admin-host {name}")
        origin = headers.get("origin")
        if method not in _SAFE and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return problem(403, "a page of another origin may not do this")
        return None

    def _is_ours(self, host: str) -> bool:
        name = _plain(host)
        return (
            ANY in self._names
            or name in self._names
            or name == "localhost"
            or name.endswith(".localhost")
            or _is_address(name)
        )

    def _knows_token(self, headers: Mapping[str, str]) -> bool:
        if not self._token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)


def _plain(host: str) -> str:
    """The name or address of a Host field, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name = host.partition(":")[0] if host.count(":") == 1 else host
    return name.removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
