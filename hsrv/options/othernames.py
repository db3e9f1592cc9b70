"""The options and habits of uvicorn, gunicorn, granian and hypercorn, and what hsrv makes of each. Pure data.

An option that has the same name here needs no more than its line in `docs/names.md`. Another one is an alias (`to`), or
is refused with a line that says what to use instead (`says`). `hsrv.sources.sources` applies the table to the command
line, the keywords of `hsrv.run()`, the keys of the file, `HSRV_...` and `UVICORN_...`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

UVICORN: Final = "uvicorn"
GUNICORN: Final = "gunicorn"
GRANIAN: Final = "granian"
HYPERCORN: Final = "hypercorn"


@dataclass(frozen=True)
class OtherName:
    """An option of another server. With neither `to` nor `says`: hsrv has an option of this name."""

    name: str
    """With underscores."""
    servers: tuple[str, ...]
    to: str = ""
    """The option of which it is an alias; "host" and "port" are the parts of an address of `bind`."""
    says: str = ""
    """What to use instead."""
    form: str = "{}"
    """The value for our option, from the value given."""
    off: Any = None
    """It is a switch: the value of our option when it is off. When it is on, nothing changes."""
    short: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def _row(name: str, *servers: str, **more: Any) -> OtherName:
    return OtherName(name, servers, **more)


_TLS: Final = "TLS ends at the proxy in front (docs/proxies.md)"
_CLASS: Final = "hsrv has its own worker processes: leave it out"
_RUST: Final = "tunes granian's Rust runtime: leave it out; here it is --workers and --worker-concurrency"
_CONSOLE: Final = "--log-format json or console; colours follow the terminal and NO_COLOR"
_METRICS: Final = "--admin HOST:PORT serves /metrics for Prometheus (docs/metrics.md)"
_PROXY: Final = "a matter of the proxy in front, or of a middleware of the application"
_DIRECTORY: Final = "--app-dir DIRECTORY for imports; for the working directory: cd DIRECTORY first"
_WATCHED: Final = (
    "--app-dir and the modules that the application imports are watched; --reload-include PATTERN adds files"
)
_UNNAMED: Final = "processes have no names to set: hsrv status lists them"
_PID: Final = "not needed: hsrv status, reload and stop find the server; as a service: hsrv systemd-unit"
_HTTP2: Final = "HTTP/2 ends at the proxy in front (docs/proxies.md)"

ROWS: Final[tuple[OtherName, ...]] = (
    # where it listens
    _row("bind", GUNICORN, HYPERCORN, short="-b"),
    _row("host", UVICORN, GRANIAN, to="host"),
    _row("port", UVICORN, GRANIAN, to="port"),
    _row("uds", UVICORN, GRANIAN, to="bind", form="unix:{}"),
    _row("uds_permissions", GRANIAN, to="unix_mode"),
    _row("fd", UVICORN, to="bind", form="fd:{}"),
    _row("backlog", UVICORN, GUNICORN, GRANIAN, HYPERCORN),
    _row("insecure_bind", HYPERCORN, says="--bind: TLS ends at the proxy in front (docs/proxies.md)"),
    _row("quic_bind", HYPERCORN, says="HTTP/3 ends at the proxy in front (docs/proxies.md)"),
    # what it serves
    _row("app_dir", UVICORN),
    _row("factory", UVICORN, GRANIAN),
    _row("env_file", UVICORN),
    _row("env_files", GRANIAN, to="env_file"),
    _row("env", GUNICORN, says="--env-file FILE, or the environment itself", short="-e"),
    _row("chdir", GUNICORN, says=_DIRECTORY),
    _row("working_dir", GRANIAN, says=_DIRECTORY),
    _row("pythonpath", GUNICORN, says="--app-dir DIRECTORY, or PYTHONPATH"),
    _row("paste", GUNICORN, says="an import string: module:attribute or module:factory()"),
    _row("root_path", UVICORN, HYPERCORN),
    _row("url_path_prefix", GRANIAN, to="root_path"),
    _row("lifespan", UVICORN),
    _row("interface", UVICORN, GRANIAN, says="leave it out: the application is an ASGI application"),
    _row("reset_contextvars", UVICORN, says="leave it out: every request has a context of its own"),
    _row("static_path_mount", GRANIAN, says="the proxy in front, or the application (WhiteNoise, StaticFiles)"),
    # processes
    _row("workers", UVICORN, GUNICORN, GRANIAN, HYPERCORN, short="-w"),
    _row("worker_class", GUNICORN, HYPERCORN, says=_CLASS, short="-k"),
    _row("threads", GUNICORN, says="of a plain def the framework decides; --worker-concurrency is calls that wait"),
    _row("worker_connections", GUNICORN, says="--worker-concurrency (per worker), --limit-connections (of the server)"),
    _row("backpressure", GRANIAN, says="--worker-concurrency (more wait), --limit-concurrency (more get 503)"),
    _row("preload", GUNICORN),
    _row("user", GUNICORN, HYPERCORN, short="-u"),
    _row("group", GUNICORN, HYPERCORN, short="-g"),
    _row("umask", GUNICORN, HYPERCORN, short="-m"),
    _row("loop", UVICORN, GRANIAN),
    _row("task_impl", GRANIAN, says=_RUST),
    _row("blocking_threads", GRANIAN, says=_RUST),
    _row("blocking_threads_idle_timeout", GRANIAN, says=_RUST),
    _row("runtime_threads", GRANIAN, says=_RUST),
    _row("runtime_blocking_threads", GRANIAN, says=_RUST),
    _row("runtime_mode", GRANIAN, says=_RUST),
    _row("worker_tmp_dir", GUNICORN, says="leave it out: heartbeats are in shared memory"),
    _row("daemon", GUNICORN, says="a service manager: hsrv systemd-unit prints a unit", short="-D"),
    _row("pid", GUNICORN, HYPERCORN, says=_PID, short="-p"),
    _row("pidfile", GUNICORN, says=_PID),
    _row("pid_file", GRANIAN, says=_PID),
    _row("name", GUNICORN, says=_UNNAMED, short="-n"),
    _row("process_name", GRANIAN, says=_UNNAMED),
    # their ends
    _row("limit_max_requests", UVICORN, to="worker_max_requests"),
    _row("limit_max_requests_jitter", UVICORN, to="worker_max_requests_jitter"),
    _row("max_requests", GUNICORN, HYPERCORN, to="worker_max_requests"),
    _row("max_requests_jitter", GUNICORN, HYPERCORN, to="worker_max_requests_jitter"),
    _row("workers_lifetime", GRANIAN, to="worker_max_age"),
    _row("workers_max_rss", GRANIAN, to="worker_max_memory", form="{}MiB"),
    _row("respawn_failed_workers", GRANIAN, says="leave it out: a worker that dies is always replaced"),
    _row("graceful_timeout", GUNICORN, HYPERCORN),
    _row("timeout_graceful_shutdown", UVICORN, to="graceful_timeout"),
    _row("workers_kill_timeout", GRANIAN, to="graceful_timeout"),
    _row("timeout", GUNICORN, says="--request-timeout, for one request (60 s); streams are exempt", short="-t"),
    _row("timeout_worker_healthcheck", UVICORN, says="--request-timeout and --gil-timeout find a worker that hangs"),
    # HTTP
    _row("http", UVICORN, GRANIAN),
    _row("keep_alive", GUNICORN, HYPERCORN),
    _row("timeout_keep_alive", UVICORN, to="keep_alive"),
    _row("read_timeout", HYPERCORN, says="--header-timeout, --body-timeout"),
    _row("limit_concurrency", UVICORN),
    _row("h11_max_incomplete_event_size", UVICORN, to="limit_request_head"),
    _row("limit_request_line", GUNICORN),
    _row("limit_request_fields", GUNICORN),
    _row("limit_request_field_size", GUNICORN, says="--limit-request-head, for all header fields together"),
    _row("http1_buffer_size", GRANIAN, says="--limit-request-head"),
    _row("http1_header_read_timeout", GRANIAN, to="header_timeout", form="{}ms"),
    _row("http1_keep_alive", GRANIAN, says="--keep-alive TIME"),
    _row("http2_keep_alive_interval", GRANIAN, says=_HTTP2),
    _row("http2_max_concurrent_streams", GRANIAN, says=_HTTP2),
    _row("header", UVICORN, says=_PROXY),
    _row("headers", UVICORN, says=_PROXY),
    _row("server_name", HYPERCORN, says=_PROXY),
    _row("server_header", UVICORN),
    _row("date_header", UVICORN),
    # WebSocket
    _row("ws", UVICORN),
    _row("ws_max_size", UVICORN, to="ws_max_message"),
    _row("ws_max_queue", UVICORN, says="--ws-memory, for the messages of all connections together"),
    _row("ws_ping_interval", UVICORN),
    _row("websocket_ping_interval", HYPERCORN, to="ws_ping_interval"),
    _row("ws_ping_timeout", UVICORN),
    _row("ws_per_message_deflate", UVICORN),
    # behind a proxy
    _row("proxy_headers", UVICORN, to="forwarded_allow_ips", off=()),
    _row("forwarded_allow_ips", UVICORN, GUNICORN),
    _row("proxy_protocol", GUNICORN),
    _row("proxy_allow_from", GUNICORN, to="proxy_protocol_from"),
    # TLS
    _row("ssl_keyfile", UVICORN, GRANIAN, says=_TLS),
    _row("ssl_certfile", UVICORN, says=_TLS),
    _row("ssl_keyfile_password", UVICORN, GRANIAN, says=_TLS),
    _row("ssl_version", UVICORN, says=_TLS),
    _row("ssl_cert_reqs", UVICORN, says=_TLS),
    _row("ssl_ca_certs", UVICORN, says=_TLS),
    _row("ssl_ciphers", UVICORN, says=_TLS),
    _row("ssl_certificate", GRANIAN, says=_TLS),
    _row("certfile", GUNICORN, HYPERCORN, says=_TLS),
    _row("keyfile", GUNICORN, HYPERCORN, says=_TLS),
    _row("ca_certs", GUNICORN, HYPERCORN, says=_TLS),
    _row("ciphers", GUNICORN, HYPERCORN, says=_TLS),
    # development
    _row("reload", UVICORN, GUNICORN, GRANIAN, HYPERCORN),
    _row("reload_include", UVICORN),
    _row("reload_includes", UVICORN, to="reload_include"),
    _row("reload_exclude", UVICORN),
    _row("reload_excludes", UVICORN, to="reload_exclude"),
    _row("reload_dir", UVICORN, says=_WATCHED),
    _row("reload_dirs", UVICORN, says=_WATCHED),
    _row("reload_paths", GRANIAN, says=_WATCHED),
    _row("reload_ignore_dirs", GRANIAN, to="reload_exclude"),
    _row("reload_ignore_patterns", GRANIAN, says="--reload-exclude PATTERN, as in .gitignore"),
    _row("reload_extra_file", GUNICORN, says="--reload-include PATTERN, as in .gitignore"),
    _row("reload_engine", GUNICORN, says="leave it out: changes are reported by the system where it can"),
    _row("reload_delay", UVICORN, says="leave it out: a save is seen at once"),
    _row("debug", HYPERCORN, says="hsrv dev, or --reload, which shows errors in the browser"),
    # logs
    _row("log_level", UVICORN, GUNICORN, GRANIAN, HYPERCORN),
    _row("access_log", UVICORN, GRANIAN),
    _row("access_logformat", GUNICORN, HYPERCORN, to="access_log_format"),
    _row("access_log_fmt", GRANIAN, says="--access-log-format, with gunicorn's atoms: %(h)s %(r)s %(s)s ..."),
    _row("access_logfile", GUNICORN, HYPERCORN, to="access_log_file"),
    _row("error_logfile", GUNICORN, HYPERCORN, to="log_file"),
    _row("log_file", GUNICORN, HYPERCORN),
    _row("log_config", UVICORN, GRANIAN, HYPERCORN),
    _row("log_config_json", GUNICORN, to="log_config"),
    _row("logger_class", GUNICORN, says="--log-format, --access-log-format, or logging.config in the application"),
    _row("log_syslog", GUNICORN, says="standard error, which journald or systemd-cat takes"),
    _row("use_colors", UVICORN, says=_CONSOLE),
    _row("capture_output", GUNICORN, says="leave it out: what is printed goes where standard output and error go"),
    # operating it
    _row("config", GUNICORN, HYPERCORN, short="-c"),
    _row("check_config", GUNICORN, says="hsrv check APP"),
    _row("print_config", GUNICORN, says="hsrv config"),
    _row("statsd_host", GUNICORN, HYPERCORN, says=_METRICS),
    _row("metrics", GRANIAN, says=_METRICS),
    _row("metrics_address", GRANIAN, says=_METRICS),
    _row("metrics_port", GRANIAN, says=_METRICS),
)  # fmt: skip

OTHER_NAMES: Final[Mapping[str, OtherName]] = {row.name: row for row in ROWS}

SHORT: Final[Mapping[str, OtherName]] = {row.short: row for row in ROWS if row.short}

BARE: Final[Mapping[str, str]] = {"preload": "app", "proxy_protocol": "auto"}
"""Options that are switches of gunicorn: what they mean without a value."""

VALUES: Final[Mapping[tuple[str, str], str]] = {
    ("log_level", "trace"): "debug",
    ("log_level", "warn"): "warning",
    ("log_level", "critical"): "error",
    ("http", "httptools"): "auto",
    ("http", "1"): "auto",
    ("ws", "websockets"): "auto",
    ("ws", "websockets-sansio"): "auto",
}
"""(Option, value that another server takes) to the value that means the same here."""

HABITS: Final[tuple[tuple[str, str, str], ...]] = (
    ("`hsrv main:app`", "all", "works: `hsrv start main:app`"),
    ("`hsrv run`, `hsrv serve`", "others", "works: `hsrv start`"),
    ("`hsrv --version`", "all", "works: `hsrv version`"),
    ("`fastapi dev`, `flask run --debug`", "others", "`hsrv dev`"),
    ("`main:create()`", "gunicorn", "works, as does `--factory`"),
    ("`uvicorn.run(app, host=..., port=...)`", "uvicorn", "`hsrv.run(app, host=..., port=...)`"),
    ("`-c gunicorn.conf.py`", "gunicorn", "`hsrv.toml`; hooks become lifespan code (docs/migration.md)"),
    ("`GUNICORN_CMD_ARGS`", "gunicorn", "not read: `HSRV_...` or `hsrv.toml`"),
    ("`UVICORN_...`", "uvicorn", "works like `HSRV_...`, which take precedence"),
    ("`WEB_CONCURRENCY`", "uvicorn, gunicorn", "works"),
    ("`PORT`", "platforms, gunicorn", "works: `0.0.0.0:PORT`, or the port beside `--host`"),
    ("`FORWARDED_ALLOW_IPS`", "uvicorn, gunicorn", "works"),
    ("HUP", "all", "works: new code without a lost request"),
    ("TTIN, TTOU", "uvicorn, gunicorn", "works: one worker more, one less"),
    ("USR1", "gunicorn", "works: log files need no signal, they are opened again after a rename"),
    ("USR2", "gunicorn", "works: a new server takes over, and the old one ends by itself"),
)
"""(What people do, with which server, what happens here)."""
