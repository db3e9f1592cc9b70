"""The dashboard's page: one file with its style and script; the browser is told to load nothing else.

The page contains no data, so it is public; what it shows comes from /events, which needs the token if there is one.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hsrv.supervisor.admin.http.route import Request, Response

PAGE: Final = Path(__file__).with_name("dashboard.html")

_INLINE: Final = re.compile(rb"<(style|script)>(.*?)</\1>", re.S)


class Dashboard:
    """Reads the page once."""

    def __init__(self, *, needs_token: bool) -> None:
        html = PAGE.read_bytes()
        if needs_token:
            html = html.replace(b"<body>", b'<body data-token="needed">', 1)
        self._response = Response(html, "text/html; charset=utf-8", headers=security_headers(html))

    async def page(self, request: Request) -> Response:
        """GET /."""
        return self._response


def security_headers(html: bytes) -> Mapping[str, str]:
    """Allow only the page's own style and script, by their hashes, and connections to its origin."""
    hashes: dict[str, list[str]] = {"style": [], "script": []}
    for tag, content in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        hashes[tag.decode()].append(f"'sha256-{digest}'")
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(hashes["script"]),
        "style-src": " ".join(hashes["style"]),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
