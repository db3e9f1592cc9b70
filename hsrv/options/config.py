"""Every option of the server, declared once. Pure.

A field's name, type, default, help and panel are its whole declaration: command line, environment, file keys and
documentation are derived from it (`hsrv.sources.sources`, `hsrv.cli`, `hsrv.options.arguments`). A `Config` is immutable.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import msgspec

from hsrv.common.terms import HeaderMap, Interface, LifespanMode, Preload, ProxyProtocol
from hsrv.options.bindspec import Bind, TcpBind, parse_bind

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@dataclass(frozen=True)
class Opt:
    """A field's metadata beyond its name, type and default."""

    help: str
    panel: str
    short: str | None = None
    metavar: str | None = None
    secret: bool = False
    """Its value is never displayed."""
    common: str | None = None
    """The group under which `--help` shows it. None: only `--help-all` does."""


BEARER_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")

LONGEST: Final = 1e9
"""Seconds, about 30 years: without a limit `inf` would pass, which no timer accepts."""

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
"""The limit is that of a C int, which listen() takes."""
Bytes = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=LONGEST)]
CountOrNone = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""0 means no limit."""
SecondsOrNone = Annotated[float, msgspec.Meta(ge=0, le=LONGEST)]
"""0 means no limit, or at once."""
Texts = tuple[str, ...]
LogLevel = Literal["debug", "info", "warning", "error"]
SERVER_LOG_LEVELS: Final[tuple[str, ...]] = get_args(LogLevel)

_SERVING: Final = "Serving"
_OPERATING: Final = "Operating"
"""Additional groups of `--help`. The groups of `--help-all` are:"""

_APP: Final = "Application"
_PROCESSES: Final = "Processes"
_LISTEN: Final = "Listening"
_STREAMS: Final = "Streams"
_STOP: Final = "Starting and stopping"
_DEV: Final = "Development"
_HEALTH: Final = "Health"
_ADMIN: Final = "Admin address"
_HTTP: Final = "Limits and timeouts"
_WS: Final = "WebSocket"
_EVENTS: Final = "Events"
_PROXY: Final = "Behind a proxy"
_LOG: Final = "Logs"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The effective configuration. Times in seconds, sizes in bytes."""

    # fmt: off
    app: Annotated[str | None, Opt("what to serve: module:attribute, module:factory() or a dotted attribute", _APP)] = None
    pool_app: Annotated[str | None, Opt("what the pool runs, if that is another application than the workers': Django's asgi beside its wsgi", _APP, metavar="APP")] = None
    interface: Annotated[Interface, Opt("how the application is called; auto: by its parameters", _APP)] = Interface.AUTO
    app_dir: Annotated[str, Opt("directory from which the application is imported", _APP, metavar="DIRECTORY")] = "."
    factory: Annotated[bool, Opt("the attribute is a function that returns the application", _APP, common=_APP)] = False
    lifespan: Annotated[LifespanMode, Opt("use the application's lifespan", _APP)] = LifespanMode.AUTO
    env_file: Annotated[str | None, Opt("file with NAME=value lines for the application's environment", _APP, metavar="FILE", common=_APP)] = None
    root_path: Annotated[str, Opt("path prefix under which a proxy mounts the application (ASGI root_path)", _APP, metavar="PATH", common=_APP)] = ""

    workers: Annotated[Count | Literal["auto"], Opt("worker processes; auto: as many as CPU quota, affinity and memory allow", _PROCESSES, short="-w", metavar="N|auto", common=_SERVING)] = 1
    pools: Annotated[Count, Opt("async-pool processes", _PROCESSES, metavar="N")] = 1
    worker_concurrency: Annotated[Count, Opt("requests in progress per worker that wait for something", _PROCESSES, metavar="N")] = 128
    threads: Annotated[Count, Opt("WSGI: calls at a time in a worker; with more than 1 they run in threads", _PROCESSES, metavar="N")] = 1
    stream_threads: Annotated[Count, Opt("WSGI: streams at a time in a pool, or worker, each of which takes a thread", _PROCESSES, metavar="N")] = 64
    preload: Annotated[Preload, Opt("what is imported before forking", _PROCESSES, common=_APP)] = Preload.AUTO
    worker_nice: Annotated[int, msgspec.Meta(ge=0, le=19), Opt("niceness of workers, to give streams priority", _PROCESSES, metavar="0-19")] = 0
    user: Annotated[str | None, Opt("become this user, by name or number, once the addresses are bound", _PROCESSES, metavar="USER")] = None
    group: Annotated[str | None, Opt("its group; default: the user's own", _PROCESSES, metavar="GROUP")] = None
    umask: Annotated[Annotated[str, msgspec.Meta(pattern="^0?[0-7]{3}$")] | None, Opt("permissions removed from new files, octal; default: as inherited", _PROCESSES, metavar="MASK")] = None
    loop: Annotated[Literal["auto", "uvloop", "asyncio"], Opt("event loop of workers and pools", _PROCESSES)] = "auto"

    worker_max_requests: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1), Opt("a worker is replaced after this many requests; 0: never", _PROCESSES, metavar="N", common=_OPERATING)] = 0
    worker_max_requests_jitter: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1), Opt("up to this many more, at random, so that workers are not all replaced at once", _PROCESSES, metavar="N")] = 0

    bind: Annotated[Texts, Opt("HOST:PORT, [V6]:PORT, unix:PATH, fd:N or fd://NAME (socket activation); repeatable; port 0: any free one", _LISTEN, short="-b", metavar="ADDRESS", common=_SERVING)] = ("127.0.0.1:8000",)
    unix_mode: Annotated[str, msgspec.Meta(pattern="^0?[0-7]{3}$"), Opt("permissions of Unix socket files, octal", _LISTEN, metavar="MODE")] = "0660"
    backlog: Annotated[Count, Opt("connections that may wait to be accepted", _LISTEN, metavar="N")] = 2048

    stream: Annotated[Texts, Opt("paths whose requests go to the pool (* matches anything); repeatable", _STREAMS, metavar="GLOB", common=_SERVING)] = ()
    no_stream: Annotated[Texts, Opt("paths whose requests stay in workers; overrides every other rule; repeatable", _STREAMS, metavar="GLOB")] = ()
    stream_after: Annotated[Seconds, Opt("a response still open after this time counts as a stream", _STREAMS)] = 5.0
    stream_send_timeout: Annotated[Seconds, Opt("close a stream when its client accepts no byte for this time", _STREAMS)] = 30.0
    handoff_timeout: Annotated[Seconds, Opt("how long a stream may wait for a pool before it gets 503", _STREAMS)] = 5.0

    max_draining: Annotated[Count, Opt("generations that may drain at a time; another reload ends the streams of the oldest", _STOP, metavar="N")] = 4
    reload: Annotated[bool, Opt("reload the code when a file changes, and show errors in the browser", _DEV, common=_DEV)] = False
    reload_include: Annotated[Texts, Opt("files to watch besides *.py, as in .gitignore; repeatable", _DEV, metavar="PATTERN")] = ()
    reload_exclude: Annotated[Texts, Opt("files and directories not to watch; repeatable", _DEV, metavar="PATTERN")] = ()
    reload_browser: Annotated[bool, Opt("HTML pages refresh themselves after a reload", _DEV, common=_DEV)] = False

    startup_timeout: Annotated[Seconds, Opt("time for a process to import the application and start up", _STOP)] = 120.0
    lifespan_startup_timeout: Annotated[Seconds, Opt("time for lifespan startup", _STOP)] = 60.0
    lifespan_shutdown_timeout: Annotated[Seconds, Opt("time for lifespan shutdown", _STOP)] = 10.0
    leader_first: Annotated[bool, Opt("the lifespan startup of the leader (worker 1) is complete before those of the other processes begin", _STOP)] = True
    drain_delay: Annotated[SecondsOrNone, Opt("keep accepting for this time after TERM, answering with Connection: close", _STOP)] = 0.0
    graceful_timeout: Annotated[SecondsOrNone, Opt("how long a stop waits for requests", _STOP, common=_OPERATING)] = 30.0
    stream_grace: Annotated[SecondsOrNone, Opt("how long a stop waits for streams", _STOP, common=_OPERATING)] = 10.0

    run_dir: Annotated[str | None, Opt("directory of the operator socket; default: $XDG_RUNTIME_DIR/hsrv, /run/hsrv (root), /run/hsrv-UID (--user) or /tmp/hsrv-UID", _STOP, metavar="DIRECTORY")] = None

    request_timeout: Annotated[SecondsOrNone, Opt("a request that takes longer is ended: with 504 if it waits for something; by --hang-action if it blocks a worker; streams are exempt; 0: no limit", _HEALTH, common=_OPERATING)] = 60.0
    stall_timeout: Annotated[SecondsOrNone, Opt("a pool whose event loop is blocked for longer is reported with its stacks; 0: never", _HEALTH)] = 2.0
    gil_timeout: Annotated[SecondsOrNone, Opt("a process counts as hung if none of its threads ran for this time, because the GIL is held; 0: never", _HEALTH)] = 30.0
    hang_grace: Annotated[SecondsOrNone, Opt("time between the report of a hang and --hang-action", _HEALTH)] = 5.0
    hang_action: Annotated[Literal["report", "replace"], Opt("what to do with a worker that hangs; its stacks are always logged; with --reload, or in a debugger, it is only reported", _HEALTH)] = "replace"
    pool_hang_action: Annotated[Literal["report", "replace"], Opt("the same for a pool; replacing it cuts off its streams", _HEALTH)] = "report"
    worker_max_age: Annotated[SecondsOrNone, Opt("a worker is replaced after this time plus up to a tenth; 0: never", _HEALTH)] = 0.0
    worker_max_memory: Annotated[Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)], Opt("a worker is replaced when it uses more memory (pages shared by preloading count in proportion); 0: never", _HEALTH, metavar="SIZE", common=_OPERATING)] = 0
    memory_pressure: Annotated[Annotated[float, msgspec.Meta(ge=0, le=1)], Opt("at this fraction of the control group's memory limit the worker or pool that has grown most is replaced; 0: never", _HEALTH, metavar="0-1")] = 0.9

    admin: Annotated[str | None, Opt("HOST:PORT, [V6]:PORT, unix:PATH or fd:N for probes, metrics and status, answered by the supervisor itself; default: none", _ADMIN, metavar="ADDRESS", common=_OPERATING)] = None
    admin_token: Annotated[str | None, Opt("bearer token for everything but the probes, or file:PATH to read it from", _ADMIN, metavar="TOKEN", secret=True)] = None
    admin_host: Annotated[Texts, Opt("accepted host names, besides localhost, the name in --admin and any literal address; *: any; repeatable", _ADMIN, metavar="NAME")] = ()
    admin_write: Annotated[bool, Opt("allow actions too: reload, scale, stacks; needs --admin-token", _ADMIN)] = False
    app_metrics: Annotated[bool, Opt("merge the application's prometheus-client metrics of all processes into /metrics", _ADMIN)] = True

    keep_alive: Annotated[Seconds, Opt("an idle connection is closed after this time", _HTTP, common=_SERVING)] = 75.0
    park_after: Annotated[SecondsOrNone, Opt("an idle connection moves to the parking lot in the pool after this time, or when its worker is about to be busy for long; its next request goes to any free worker; 0: never", _HTTP)] = 1.0
    header_timeout: Annotated[Seconds, Opt("time for a request head to arrive", _HTTP)] = 10.0
    body_timeout: Annotated[Seconds, Opt("time without a byte of a request body", _HTTP)] = 30.0
    body_min_rate: Annotated[CountOrNone, Opt("minimum bytes per second of a request body, over any --body-timeout before the response begins; 0: any", _HTTP, metavar="SIZE")] = 240
    send_timeout: Annotated[Seconds, Opt("close a connection when the client accepts no byte of a response for this time", _HTTP)] = 60.0
    queue_timeout: Annotated[Seconds, Opt("how long a request may wait for a worker, or for a place in it, before it gets 503", _HTTP)] = 30.0
    limit_connections: Annotated[CountOrNone, Opt("maximum client connections of the server, including idle ones and streams; more get 503; 0: as descriptors allow", _HTTP, metavar="N")] = 0
    limit_connections_per_client: Annotated[CountOrNone, Opt("the same for one client address, or one /64 of IPv6; 0: no limit", _HTTP, metavar="N")] = 0
    limit_concurrency: Annotated[CountOrNone, Opt("maximum requests in progress or waiting in all processes, not counting streams; more get 503 at once; 0: no limit", _HTTP, metavar="N")] = 0
    limit_streams: Annotated[CountOrNone, Opt("maximum HTTP streams in the pools; more get 503; 0: as descriptors allow", _HTTP, metavar="N")] = 0
    limit_websockets: Annotated[CountOrNone, Opt("maximum WebSockets; more get 503; 0: as descriptors allow", _HTTP, metavar="N")] = 0
    body_buffer: Annotated[Bytes, Opt("bytes of a request body that are read before the application receives them", _HTTP, metavar="SIZE")] = 64 * KIB
    limit_request_line: Annotated[Bytes, Opt("maximum length of a request line", _HTTP, metavar="SIZE")] = 8 * KIB
    limit_request_head: Annotated[Bytes, Opt("maximum size of a request head", _HTTP, metavar="SIZE")] = 64 * KIB
    limit_request_fields: Annotated[Count, Opt("maximum header fields of a request", _HTTP, metavar="N")] = 128
    limit_request_body: Annotated[Bytes, Opt("maximum size of a request body", _HTTP, metavar="SIZE", common=_SERVING)] = GIB
    header_map: Annotated[HeaderMap, Opt("treatment of header names with an underscore, which CGI-like code takes for a hyphen", _HTTP)] = HeaderMap.DROP
    http: Annotated[Literal["auto", "h11", "split"], Opt("HTTP parser", _HTTP)] = "auto"

    ws: Annotated[Literal["auto", "frames", "wsproto"], Opt("frame codec; auto: the fastest, frames", _WS)] = "auto"
    ws_max_message: Annotated[Bytes, Opt("maximum size of a message, decompressed; a larger one is closed with 1009", _WS, metavar="SIZE")] = 16 * MIB
    ws_max_inflated: Annotated[Bytes, Opt("the same for a compressed message; --ws-max-message applies too", _WS, metavar="SIZE")] = MIB
    ws_message_timeout: Annotated[SecondsOrNone, Opt("time for a message, from its first frame to its last; a slower one is closed with 1008; 0: no limit", _WS)] = 60.0
    ws_memory: Annotated[Bytes, Opt("memory for incomplete and waiting messages of a pool; above it the connections that hold the most are closed with 1013", _WS, metavar="SIZE")] = 256 * MIB
    ws_ping_interval: Annotated[SecondsOrNone, Opt("time between pings; 0: no pings", _WS)] = 20.0
    ws_ping_timeout: Annotated[SecondsOrNone, Opt("time for the pong to a ping; 0: no limit", _WS)] = 20.0
    ws_per_message_deflate: Annotated[bool, Opt("offer compression (RFC 7692)", _WS)] = True

    forwarded_allow_ips: Annotated[Texts, Opt("proxies whose X-Forwarded-* and Forwarded are trusted: addresses, networks, unix or *; repeatable", _PROXY, metavar="NETWORK", common=_SERVING)] = ("127.0.0.1", "::1", "unix")
    proxy_protocol: Annotated[ProxyProtocol, Opt("expect a PROXY header before the first request of a connection; auto: accept one if it is present", _PROXY)] = ProxyProtocol.OFF
    proxy_protocol_from: Annotated[Texts, Opt("proxies that send it: addresses, networks, unix or *; repeatable; with v1 and v2 all others are refused", _PROXY, metavar="NETWORK")] = ("127.0.0.1", "::1", "unix")
    server_header: Annotated[bool, Opt("send the Server header field", _PROXY)] = True
    date_header: Annotated[bool, Opt("send the Date header field", _PROXY)] = True

    log_format: Annotated[Literal["auto", "console", "json", "short"], Opt("auto: console on a terminal, else JSON; short: that of hsrv dev", _LOG, common=_LOG)] = "auto"
    log_schema: Annotated[Literal["hsrv", "ecs", "gcp"], Opt("names of the fields of JSON lines: hsrv's own, Elastic's, Google Cloud's", _LOG)] = "hsrv"
    log_level: Annotated[LogLevel, Opt("lowest level that is logged", _LOG, common=_LOG)] = "info"
    log_config: Annotated[str | None, Opt("JSON, YAML or TOML file for logging.config.dictConfig(), applied before the application is imported", _LOG, metavar="FILE")] = None
    log_to: Annotated[Literal["stderr", "stdout"], Opt("where lines go, unless to a file", _LOG)] = "stderr"
    log_file: Annotated[str | None, Opt("file for lines; each goes to the one of this name, so it may be renamed at any time", _LOG, metavar="FILE")] = None
    access_log_file: Annotated[str | None, Opt("the same for the access log; -: standard output; default: with all other lines", _LOG, metavar="FILE")] = None
    access_log: Annotated[bool, Opt("log every request", _LOG, common=_LOG)] = True
    log_query: Annotated[bool, Opt("log query strings, of the request and of Referer; --no-log-query removes them from all lines of the server", _LOG)] = True
    access_log_skip: Annotated[Texts, Opt("paths that the access log leaves out, such as probes (* matches anything); repeatable", _LOG, metavar="GLOB")] = ()
    access_log_format: Annotated[str | None, Opt("text format of the access log, with gunicorn's atoms: %(h)s %(r)s ...", _LOG, metavar="FORMAT")] = None

    collector: Annotated[Texts, Opt("collector of lifecycle events in workers and pools: module:factory; repeatable", _EVENTS, metavar="MODULE:FACTORY")] = ()
    supervisor_collector: Annotated[Texts, Opt("the same in the supervisor; it must not import the application", _EVENTS, metavar="MODULE:FACTORY")] = ()
    server_timing: Annotated[bool, Opt("send Server-Timing: how long the request waited, and how long the application took", _EVENTS)] = False
    # fmt: on


@dataclass(frozen=True)
class OptionInfo:
    """One option, derived from its declaration."""

    name: str
    type: Any
    """The annotated type without `Opt`."""
    default: Any
    opt: Opt

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "HSRV_" + self.name.upper()

    @property
    def is_time(self) -> bool:
        """Seconds."""
        return isinstance(self.default, float) and self.opt.metavar is None

    @property
    def is_size(self) -> bool:
        """Bytes."""
        return self.opt.metavar == "SIZE"

    @property
    def is_list(self) -> bool:
        return isinstance(self.default, tuple)


@cache
def options() -> tuple[OptionInfo, ...]:
    """Every option, in the order of declaration."""
    return tuple(_options())


def _options() -> Iterator[OptionInfo]:
    hints = get_type_hints(Config, include_extras=True)
    for field in msgspec.structs.fields(Config):
        hint = hints[field.name]
        opt = next(extra for extra in hint.__metadata__ if isinstance(extra, Opt))
        metas = [extra for extra in hint.__metadata__ if not isinstance(extra, Opt)]
        plain = hint.__origin__
        for meta in metas:
            plain = Annotated[plain, meta]
        yield OptionInfo(field.name, plain, field.default, opt)


def without_secrets(config: Config) -> Config:
    """The configuration for the processes of the application."""
    return msgspec.structs.replace(config, **{one.name: one.default for one in options() if one.opt.secret})


DEFAULTS: Final[Mapping[str, Any]] = {field.name: field.default for field in msgspec.structs.fields(Config)}


def cross_check(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Problems that a type can't express: (option, what is wrong). `values`: the well-typed options that were set.

    Options that were not set can't be wrong, so an upper limit is only compared with lower values that were set.
    """
    yield from _addresses(values)
    yield from _networks(values)
    yield from _admin(values)
    yield from _factories(values)
    for low, high in (
        ("limit_request_line", "limit_request_head"),
        ("lifespan_startup_timeout", "startup_timeout"),
        ("ws_max_message", "ws_memory"),
    ):
        most = values.get(high, DEFAULTS[high])
        if low in values and values[low] > most:
            yield low, f"{values[low]:g} is more than {high} ({most:g})"
    if values.get("root_path") and not values["root_path"].startswith("/"):
        yield "root_path", f"{values['root_path']!r}: must start with /"


def _addresses(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    texts = values.get("bind", DEFAULTS["bind"])
    if not texts:
        yield "bind", "at least one address is needed"
    seen: set[Bind] = set()
    for text in texts:
        try:
            bind = parse_bind(text)
        except ValueError as error:
            yield "bind", f"{text!r}: {error}"
            continue
        if bind in seen and not (isinstance(bind, TcpBind) and bind.port == 0):
            yield "bind", f"{text!r} is given twice"
        seen.add(bind)


def _admin(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    text, token = values.get("admin"), values.get("admin_token")
    if text is not None:
        try:
            parse_bind(text)
        except ValueError as error:
            yield "admin", f"{text!r}: {error}"
        if text in values.get("bind", DEFAULTS["bind"]) and not text.endswith(":0"):
            yield "admin", f"{text!r} is already an address of bind"
    if token is not None and not (token.startswith("file:") or BEARER_TOKEN.fullmatch(token)):
        yield "admin_token", "letters, digits and -._~+/= only (RFC 6750), or file:PATH"
    if values.get("admin_write") and token is None:
        yield "admin_write", "needs admin_token: without it any client could change things"


def _factories(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for option in ("collector", "supervisor_collector"):
        for text in values.get(option, ()):
            if not re.fullmatch(r"[\w.]+:[\w.]+", text):
                yield option, f"{text!r} is not of the form module:factory"


def _networks(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for option in ("forwarded_allow_ips", "proxy_protocol_from"):
        for entry in values.get(option, ()):
            if entry in ("*", "unix"):
                continue
            try:
                ip_network(entry, strict=False)
            except ValueError:
                yield option, f"{entry!r} is not an address, a network, unix or *"
