"""Enums shared by all processes: roles, modes, reasons. Pure; imports nothing of hsrv."""

from enum import StrEnum, unique

import msgspec


@unique
class Role(StrEnum):
    """The role of a process."""

    SUPERVISOR = "supervisor"
    TEMPLATE = "template"
    WORKER = "worker"
    POOL = "pool"


@unique
class Preload(StrEnum):
    """What the template imports before it forks."""

    AUTO = "auto"
    APP = "app"
    LIBRARIES = "libraries"
    NONE = "none"


@unique
class Interface(StrEnum):
    """How the application is called (`--interface`)."""

    AUTO = "auto"
    """As it looks: by its parameters."""
    ASGI = "asgi"
    WSGI = "wsgi"


@unique
class LifespanMode(StrEnum):
    """Whether the application's lifespan protocol is used."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@unique
class HeaderMap(StrEnum):
    """What becomes of header names with an underscore.

    They are legal, but CGI-like code (WSGI, Django's META) can't distinguish `X_Forwarded_For` from `X-Forwarded-For`,
    so a client could set fields that only the proxy may set.
    """

    DROP = "drop"
    REFUSE = "refuse"
    """The request is answered with 400."""
    KEEP = "keep"


@unique
class ProxyProtocol(StrEnum):
    """Whether a connection of a trusted proxy begins with a PROXY header."""

    OFF = "off"
    V1 = "v1"
    V2 = "v2"
    AUTO = "auto"
    """It may begin with one, of either version."""


@unique
class EndReason(StrEnum):
    """Why a connection left this process. Counted and logged under this name."""

    COMPLETED = "completed"
    """The exchange ended and the connection was not to be kept."""
    CLIENT_GONE = "client_gone"
    """The peer closed or reset."""
    IDLE_TIMEOUT = "idle_timeout"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    """A new connection on which nothing came."""
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    BODY_RATE = "body_rate"
    """Its request body came, but slower than --body-min-rate."""
    SEND_TIMEOUT = "send_timeout"
    """The peer accepted no byte of what was written."""
    PING_TIMEOUT = "ping_timeout"
    """A WebSocket peer answered no ping."""
    MESSAGE_TIMEOUT = "message_timeout"
    """A WebSocket peer did not complete its message."""
    FLOOD = "flood"
    """A WebSocket peer sent little but control frames and empty ones, and too many of them."""
    MESSAGE_MEMORY = "message_memory"
    """A WebSocket held the largest part of its pool's messages, which exceeded --ws-memory."""
    PROTOCOL_ERROR = "protocol_error"
    """Malformed, or larger than a limit."""
    PROXY_HEADER = "proxy_header"
    """A trusted proxy sent no PROXY header, or a malformed one."""
    UNTRUSTED_PEER = "untrusted_peer"
    """With --proxy-protocol v1 or v2: the peer is not in --proxy-protocol-from."""
    REQUEST_TIMEOUT = "request_timeout"
    """The application had begun its response and took longer than --request-timeout."""
    APP_ERROR = "app_error"
    """The application raised, or violated the ASGI protocol, after its response had begun."""
    SHED = "shed"
    """Refused with 503: no pool, or no room in the channel to it."""
    QUEUE_TIMEOUT = "queue_timeout"
    """Refused with 503: no place became free in time."""
    LIMIT_CONNECTIONS = "limit_connections"
    """Refused with 503, as the following: the limit of that name is reached."""
    LIMIT_CLIENT = "limit_client"
    LIMIT_CONCURRENCY = "limit_concurrency"
    LIMIT_STREAMS = "limit_streams"
    LIMIT_WEBSOCKETS = "limit_websockets"
    NO_THREAD = "no_thread"
    """Refused with 503: no thread became free in time for a WSGI call (--stream-threads, --threads)."""
    DESCRIPTORS = "descriptors"
    """Refused with 503, or closed while idle: this process has no descriptors left."""
    DRAINED = "drained"
    """Ended by a drain: idle, or its budget was over."""
    HANDED_OFF = "handed_off"
    """Another process owns it now."""

    __hash__ = str.__hash__
    """The __hash__ of Enum is a Python function and slow; every ending connection is counted by its reason."""


@unique
class DeathReason(StrEnum):
    """Why a process ended. Counted and logged under this name."""

    EXIT = "exit"
    """It exited by itself, with the exit code in the log."""
    SIGNAL = "signal"
    """A signal from outside, or of its own like a segmentation fault."""
    OUT_OF_MEMORY = "out_of_memory"
    """The kernel killed it for memory."""
    HUNG = "hung"
    """The supervisor killed it: --hang-action."""
    STARTUP_TIMEOUT = "startup_timeout"
    DRAIN_TIMEOUT = "drain_timeout"
    CONTROL_LOST = "control_lost"
    """It closed its control channel and kept running."""
    STOPPED = "stopped"
    """The server was stopped without waiting for it."""
    NOT_FORKED = "not_forked"
    UNKNOWN = "unknown"
    """Another process reaped its exit status."""


class Identity(msgspec.Struct, frozen=True):
    """Which process this is: the same in its title, its logs and the ASGI scope."""

    role: Role
    slot: int
    """1-based within the role; a replacement takes the slot of the process that died."""
    generation: int
    leader: bool = False
    """True in exactly one process per generation: for the scheduler or migration that must run once."""

    @property
    def name(self) -> str:
        return f"{self.role}-{self.slot}"
