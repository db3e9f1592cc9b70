"""Request heads split by h11: a parser of its own grammar and its own tests, the reference for the other. Pure."""

from typing import Final

import h11

from hsrv.common.errors import ClientError
from hsrv.http.wire.raw import RawHead

_NO_LIMIT: Final = 1 << 62
"""Sizes were checked before; h11's own limit must not be a second one."""


class H11HeadParser:
    """A fresh h11 connection per head, which is all it ever sees: no state of h11 outlives a request."""

    name = "h11"

    def __call__(self, block: bytes) -> RawHead:
        connection = h11.Connection(h11.SERVER, _NO_LIMIT)
        connection.receive_data(block)
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise ClientError(400, str(error)) from None
        if not isinstance(event, h11.Request):
            raise ClientError(400, "incomplete request head")
        return RawHead(event.method, event.target, event.http_version, list(event.headers))
