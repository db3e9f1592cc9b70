"""Packets between processes: a message that means the same when it is sent on, or MessageError."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from hsrv.common.request import RequestHead
from hsrv.common.terms import Identity, Preload, Role
from hsrv.ipc import messages
from hsrv.ipc.messages import MessageError, encode
from hsrv.options.config import Config
from tests.fuzz import past
from tests.fuzz.targets import Target, mutated

HEAD = RequestHead(
    "GET",
    b"/a?b",
    "/a",
    b"/a",
    b"b",
    "1.1",
    [(b"host", b"a"), (b"x", b"\xff")],
    5,
    False,
    True,
    False,
    False,
    True,
)
ORIGIN = messages.Origin(client=("192.0.2.1", 5), server=("/run/app.sock", None), accepted_at=1.5)
TRACE = messages.Trace(request_id="r")
IDENTITY = Identity(Role.WORKER, 1, 2, leader=True)
LISTENER = messages.ListenerInfo(url="http://127.0.0.1:1", address=("127.0.0.1", 1), unix_inode=7)

SAMPLES: Final[list[bytes]] = [
    encode(message)
    for message in (
        messages.StreamingHandoff(origin=ORIGIN, head=HEAD, buffered=b"xyz", trace=TRACE),
        messages.WebSocketHandoff(origin=ORIGIN, head=HEAD, buffered=b"", trace=TRACE),
        messages.ConnectionHandoff(origin=ORIGIN, buffered=b"GET"),
        messages.RequestHandoff(origin=ORIGIN, head=HEAD, buffered=b"xyz", trace=TRACE),
        messages.Boot(
            config=Config(), generation=1, preload=Preload.AUTO, listeners=(LISTENER,), log_context={"a": "b"}
        ),
        messages.Fork(identity=IDENTITY),
        messages.TemplateReady(preload=Preload.APP, detail="d", app="a:b"),
        messages.PreloadUnsafe(reason="r"),
        messages.TemplateFailed(message="m", traceback="t"),
        messages.Forked(identity=IDENTITY, pid=5),
        messages.Exited(pid=5, status=9),
        messages.Quit(),
    )
]
DECODERS: Final[list[Callable[[bytes], Any]]] = [
    messages.decode_handoff,
    messages.decode_adoption,
    messages.decode_to_template,
    messages.decode_from_template,
]


def check(data: bytes) -> None:
    for decode in DECODERS:
        try:
            message = decode(data)
        except MessageError:
            continue
        again = encode(message)
        assert encode(decode(again)) == again


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=10,
)


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    """A message, one of whose fields is something else."""
    fields = msgspec.msgpack.decode(draw(st.sampled_from(SAMPLES)))
    fields[draw(st.sampled_from([*fields, "unknown"]))] = draw(_json)
    return msgspec.msgpack.encode(fields)


@st.composite
def deep(draw: st.DrawFn) -> bytes:
    """A message with an unknown field that is nested deeply."""
    sample = draw(st.sampled_from(SAMPLES))
    depth = draw(st.sampled_from([10, 900, 5000]))
    opening = draw(st.sampled_from([b"\x91", b"\x81\xa1a", b"\x81"]))
    return bytes([sample[0] + 1]) + sample[1:] + b"\xa1z" + opening * depth + b"\xc0"


TARGET = Target(
    "packets",
    mutated(st.sampled_from(SAMPLES)) | altered() | deep() | st.binary(max_size=60),
    check,
    past.PACKETS,
)
