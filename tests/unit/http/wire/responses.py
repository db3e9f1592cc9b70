"""A response as an encoder makes it."""

from hsrv.http.wire.response import (
    ResponseEncoder,
)

DEFAULTS = b"server: hsrv\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
Pairs = list[tuple[bytes, bytes]]


class Sent:
    """What one response became."""

    def __init__(self, encoder: ResponseEncoder, data: bytes) -> None:
        self.encoder = encoder
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.status_line, *self.fields = head.split(b"\r\n")


def encoder_for(method: str = "GET", version: str = "1.1", *, keep_alive: bool = True) -> ResponseEncoder:
    return ResponseEncoder(method, version, keep_alive=keep_alive)


def respond(
    encoder: ResponseEncoder,
    *bodies: bytes,
    status: int = 200,
    headers: Pairs | None = None,
    trailers: Pairs | None = None,
) -> Sent:
    """Send a start, the bodies (the last one without more_body), then trailers; what nobody may get is dropped."""
    encoder.start({"status": status, "headers": headers or [], "trailers": trailers is not None})
    data = b""
    for left, body in zip(reversed(range(len(bodies))), bodies, strict=True):
        if not encoder.curtailed:
            data += b"".join(encoder.body({"body": body, "more_body": left > 0}, b""))
    if trailers is not None and not encoder.curtailed:
        data += encoder.trailers({"headers": trailers})
    assert encoder.complete
    return Sent(encoder, data)
