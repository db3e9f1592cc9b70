"""The names by which one request is found in every log: X-Request-ID and W3C Trace Context. Pure."""

import random
import re
from collections.abc import Callable, Iterable
from typing import Final

from hsrv.ipc.messages import Trace

_is_request_id: Final = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}").fullmatch
"""What may be taken over from a client: nothing that could break a log line or a shell."""

_IDS: Final = rb"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"

_is_traceparent: Final = re.compile(
    rb"00-" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}-" + _IDS + rb"(?:-[\x21-\x7e]{0,128})?"
).fullmatch
"""W3C Trace Context section 3.2; versions after 00 may append fields, but every line of the request carries it."""


def trace_of(headers: Iterable[tuple[bytes, bytes]], now: float = 0.0) -> Trace:
    """The trace of a request with these headers. Fields that are malformed or repeated count as absent. `now`:
    time.monotonic().

    The request id is the client's, or made from random numbers: it tells requests apart and protects nothing.
    """
    if not headers:
        return Trace(request_id=_new_id(), received_at=now)
    request_ids = []
    traceparents = []
    for name, value in headers:
        if name == b"x-request-id":
            request_ids.append(value)
        elif name == b"traceparent":
            traceparents.append(value)
    request_id = _only(request_ids, _is_request_id) or _new_id()
    return Trace(
        request_id=request_id,
        traceparent=_only(traceparents, _is_traceparent),
        received_at=now,
    )


def _new_id() -> str:
    return random.getrandbits(128).to_bytes(16, "big").hex()


def _only(values: list[bytes], check: Callable[[bytes], object]) -> str | None:
    if len(values) != 1 or not check(values[0]):
        return None
    return values[0].decode("ascii")
