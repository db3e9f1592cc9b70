"""The messages of the handoff, adopt and template channels.

Typed structs with a tag and a version, MessagePack-encoded. Decoding is strict: a packet that doesn't decode raises
`MessageError`, and the receiver closes its descriptors and counts it. Pure: bytes to struct and back.
"""

from typing import Final, TypeVar

import msgspec

from hsrv.common.request import Address, RequestHead
from hsrv.common.terms import Identity, Preload
from hsrv.options.config import Config

VERSION: Final = 1
"""Version of all messages below. Generations of one server may run different code, so a receiver refuses other
versions. Must be raised with each change of format (`tests/unit/ipc/test_messages.py` checks) or meaning."""


class MessageError(ValueError):
    """A packet that is not one of the expected messages."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a client connection that are passed on with it."""

    client: Address | None
    server: Address | None
    tls: bool = False
    accepted_at: float
    """time.monotonic() at accept; the clock is shared by all processes of one machine."""
    requests_served: int = 0
    generation: int = 0
    """The newest generation that may have served this client. No older one serves it from then on."""
    proxy_header: bool = False
    """A PROXY header is still expected or allowed: `client` and `server` are those of the proxy."""
    connection_id: str = ""
    """Identifies it in lifecycle events (`hsrv.events`): set by the first process with a collector; "" until then."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Identifies one request in the log of every process."""

    request_id: str
    traceparent: str | None = None
    """As received (W3C Trace Context), or None."""
    received_at: float = 0.0
    """time.monotonic() when the head was complete; 0: not known."""


class StreamingHandoff(msgspec.Struct, frozen=True, kw_only=True, tag="stream"):
    """An HTTP request whose response is a stream. Comes with the client socket. Not yet run anywhere."""

    origin: Origin
    head: RequestHead
    buffered: bytes
    """All bytes read after the head: body and pipelined requests, unparsed."""
    trace: Trace
    version: int = VERSION


class WebSocketHandoff(msgspec.Struct, frozen=True, kw_only=True, tag="websocket"):
    """An upgrade request that was not answered yet. Comes with the client socket."""

    origin: Origin
    head: RequestHead
    buffered: bytes
    """All bytes read after the head: early frames."""
    trace: Trace
    version: int = VERSION


class ConnectionHandoff(msgspec.Struct, frozen=True, kw_only=True, tag="connection"):
    """A connection between two requests. Comes with the client socket."""

    origin: Origin
    buffered: bytes
    """What was read after the last exchange: part of a head, or pipelined requests."""
    deadline: float | None = None
    """time.monotonic() at which it is closed if nothing arrives; None: the receiver starts its own timeout."""
    parkable: bool = True
    """False: the parking lot was full, so it should not be sent there again."""
    version: int = VERSION


class RequestHandoff(msgspec.Struct, frozen=True, kw_only=True, tag="request"):
    """A request whose head the pool read, for a worker. Comes with the client socket. Not yet run anywhere."""

    origin: Origin
    head: RequestHead
    buffered: bytes
    """All bytes read after the head: body and pipelined requests, unparsed."""
    trace: Trace
    version: int = VERSION


class ParkedHandoff(msgspec.Struct, frozen=True, kw_only=True, tag="parked"):
    """A connection between two requests, for the parking lot. Comes with the client socket."""

    origin: Origin
    deadline: float
    """time.monotonic() at which it is closed if nothing more comes."""
    buffered: bytes = b""
    """What was read after the last exchange: part of a head, or pipelined requests."""
    version: int = VERSION


Handoff = StreamingHandoff | WebSocketHandoff | ParkedHandoff
Adoption = ConnectionHandoff | RequestHandoff
AnyHandoff = Handoff | Adoption


class ListenerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One listening socket, beside its descriptor."""

    url: str
    """For people: http://127.0.0.1:8000 or unix:/run/app.sock."""
    address: Address
    unix_inode: int | None = None
    """Inode of the socket file, so that only the server's own file is unlinked; None for TCP."""


class Boot(msgspec.Struct, frozen=True, kw_only=True, tag="boot"):
    """Supervisor to template, first packet. Descriptors, in this order: handoff send and receive end,
    adopt send and receive end, the listeners, the file of `hsrv.child.leadership`, the table of `hsrv.board.census` if
    any limit needs it."""

    config: Config
    generation: int
    preload: Preload
    listeners: tuple[ListenerInfo, ...]
    files: tuple[ListenerInfo, ...] = ()
    """Other socket files to remove when the supervisor dies: the operator socket, and that of --admin."""
    metrics_dir: str = ""
    """Directory of the application's metrics (`hsrv.system.metricsdir`): locked while a process of the server lives,
    removed by the last."""
    log_context: dict[str, str] = {}
    """Added to every log line of the template: the id of the reload that it is started for."""
    version: int = VERSION


class Failure(msgspec.Struct, frozen=True):
    """Why an application could not be loaded or started."""

    message: str
    traceback: str


class Renew(msgspec.Struct, frozen=True, kw_only=True, tag="renew"):
    """Supervisor to template: children forked from now on belong to another generation (development). Descriptors: send
    and receive end of its handoff channel."""

    config: Config
    generation: int
    log_context: dict[str, str] = {}
    version: int = VERSION


class Fork(msgspec.Struct, frozen=True, kw_only=True, tag="fork"):
    """Supervisor to template: fork one child. Descriptors: the child's end of its control socket, the file that
    its stacks are dumped to (`hsrv.board.stacks`), and its scoreboard (`hsrv.board.scoreboard`)."""

    identity: Identity
    log_context: dict[str, str] = {}
    """Added to the log lines about its start."""
    broken: "Failure | None" = None
    """Why the application can't be loaded: the child serves an error page and doesn't try to load it."""
    waits: bool = False
    """The child begins its lifespan startup when it is told that the leader's is complete."""
    version: int = VERSION


class TemplateReady(msgspec.Struct, frozen=True, kw_only=True, tag="template_ready"):
    """Template to supervisor: ready to fork."""

    preload: Preload
    """The policy that was applied; never AUTO."""
    detail: str
    """For the banner: what was imported, or why nothing was imported."""
    app: str
    """The import string that was resolved, for the banner."""
    version: int = VERSION


class PreloadUnsafe(msgspec.Struct, frozen=True, kw_only=True, tag="preload_unsafe"):
    """Template to supervisor: the import left objects that a fork would share, so this process must not fork."""

    reason: str
    version: int = VERSION


class TemplateFailed(msgspec.Struct, frozen=True, kw_only=True, tag="template_failed"):
    """Template to supervisor: the application can't be imported."""

    message: str
    traceback: str
    version: int = VERSION


class Forked(msgspec.Struct, frozen=True, kw_only=True, tag="forked"):
    """Template to supervisor: the child runs. pid 0 and an error when fork() failed."""

    identity: Identity
    pid: int
    error: str = ""
    version: int = VERSION


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag="exited"):
    """Template to supervisor: a child was reaped."""

    pid: int
    status: int
    """As of waitpid(); read it with os.waitstatus_to_exitcode()."""
    version: int = VERSION


class Own(msgspec.Struct, frozen=True, kw_only=True, tag="own"):
    """Supervisor to template: from now on these are the socket files to remove when the supervisor dies. Sent when the
    files have passed to another server, or to this one."""

    files: tuple[ListenerInfo, ...]
    version: int = VERSION


class Quit(msgspec.Struct, frozen=True, kw_only=True, tag="quit"):
    """Supervisor to template: exit. End of file without it means that the supervisor died."""

    version: int = VERSION


ToTemplate = Boot | Renew | Fork | Own | Quit
FromTemplate = TemplateReady | PreloadUnsafe | TemplateFailed | Forked | Exited

_encoder = msgspec.msgpack.Encoder()
_to_pool: "msgspec.msgpack.Decoder[Handoff]" = msgspec.msgpack.Decoder(Handoff)
_to_worker: "msgspec.msgpack.Decoder[Adoption]" = msgspec.msgpack.Decoder(Adoption)
_to_template: "msgspec.msgpack.Decoder[ToTemplate]" = msgspec.msgpack.Decoder(ToTemplate)
_from_template: "msgspec.msgpack.Decoder[FromTemplate]" = msgspec.msgpack.Decoder(FromTemplate)

M = TypeVar("M", bound=AnyHandoff | ToTemplate | FromTemplate)


def encode(message: AnyHandoff | ToTemplate | FromTemplate) -> bytes:
    """The packet of `message`."""
    return _encoder.encode(message)


def _decode(decoder: "msgspec.msgpack.Decoder[M]", data: bytes) -> M:
    try:
        message: M = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MessageError(str(error)) from error
    if message.version != VERSION:
        raise MessageError(f"version {message.version}, expected {VERSION}")
    return message


def decode_handoff(data: bytes) -> Handoff:
    """A packet of the handoff channel. Raises `MessageError`."""
    return _decode(_to_pool, data)


def decode_adoption(data: bytes) -> Adoption:
    """A packet of the adopt channel. Raises `MessageError`."""
    return _decode(_to_worker, data)


def decode_to_template(data: bytes) -> ToTemplate:
    """A packet from the supervisor. Raises `MessageError`."""
    return _decode(_to_template, data)


def decode_from_template(data: bytes) -> FromTemplate:
    """A packet from a template. Raises `MessageError`."""
    return _decode(_from_template, data)
