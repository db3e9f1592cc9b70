"""The names of a request."""

import re

import pytest

from hsrv.http.wire.trace import trace_of

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("value", [b"a", b"A-z0.9_~:/+=@", b"x" * 128])
def test_a_clients_request_id_is_taken(value: bytes) -> None:
    assert trace_of([(b"host", b"a"), (b"x-request-id", value)]).request_id == value.decode()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-request-id", b"")],
        [(b"x-request-id", b"x" * 129)],
        [(b"x-request-id", b"a b")],
        [(b"x-request-id", b"a\nb")],
        [(b"x-request-id", b"$(x)")],
        [(b"x-request-id", b"\xe9")],
        [(b"x-request-id", b"a"), (b"x-request-id", b"b")],
    ],
)
def test_else_one_is_made(headers: list[tuple[bytes, bytes]]) -> None:
    made = {trace_of(headers).request_id for _ in range(10)}
    assert len(made) == 10
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in made)


@pytest.mark.parametrize(
    "value",
    [
        PARENT,
        b"cc" + PARENT[2:],
        b"01" + PARENT[2:] + b"-later",
        b"fe" + PARENT[2:] + b"-",
        b"01" + PARENT[2:] + b"-" + b"x" * 128,
    ],
)
def test_a_traceparent_is_kept(value: bytes) -> None:
    assert trace_of([(b"traceparent", value)]).traceparent == value.decode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"ff" + PARENT[2:],
        PARENT.upper(),
        PARENT[:-1],
        PARENT + b"0",
        PARENT + b"-more",
        b"01" + PARENT[2:] + b"x",
        b"01" + PARENT[2:] + b"-" + b"x" * 129,
        PARENT.replace(b"0af7651916cd43dd8448eb211c80319c", b"0" * 32),
        PARENT.replace(b"b7ad6b7169203331", b"0" * 16),
        PARENT.replace(b"-", b"_"),
    ],
)
def test_a_malformed_traceparent_is_dropped(value: bytes) -> None:
    assert trace_of([(b"traceparent", value)]).traceparent is None


def test_a_repeated_traceparent_is_dropped() -> None:
    assert trace_of([(b"traceparent", PARENT), (b"traceparent", PARENT)]).traceparent is None
