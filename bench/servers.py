"""The servers, as one table of command lines. Each is told to use its fastest parser and loop; else its defaults."""

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

APPS: Final = Path(__file__).parent / "apps"
"""Where the servers are started: they import `raw:app` and the like from here."""

LOG_OFF, LOG_TEXT, LOG_JSON = "off", "text", "json"

NGINX_CONF: Final = """\
daemon off; worker_processes {workers}; pid nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type text/plain; keepalive_requests 100000000;
  server {{ listen 127.0.0.1:{port} backlog=2048; location / {{ return 200 "Hello, world!"; }} }}
}}
"""


@dataclass(frozen=True)
class Server:
    name: str
    package: str
    """The distribution whose version is shown; empty: a program of the system."""
    command: str
    """Without the interpreter; {app}, {workers}, {port} and {bind} are filled in."""
    log: dict[str, str] = field(default_factory=dict)
    """How the access log is switched, by LOG_OFF, LOG_TEXT, LOG_JSON. A missing one can't be had by options alone."""
    grace: str = ""
    """How long streams may go on during a reload, with {seconds}; only in scenarios that reload."""
    kinds: tuple[str, ...] = ("asgi",)
    """Which scenarios it takes part in."""
    limit: bool = False
    """It runs no Python: shown as what the machine can do, not as a competitor."""
    python: str = sys.executable


TEXT_ATOMS = '%(h)s "%(r)s" %(s)s'
JSON_ATOMS = '{"time":"%(t)s","client":"%(h)s","request":"%(r)s","status":"%(s)s"}'
GRANIAN_JSON = '{"time":"%(time)s","client":"%(addr)s","request":"%(method)s %(path)s","status":"%(status)d"}'

_SERVERS: Final = (
    Server(
        "hsrv",
        "hsrv",
        "-m hsrv start {app} --workers {workers} --bind {bind}",
        {LOG_OFF: "--no-access-log", LOG_TEXT: "--log-format console", LOG_JSON: "--log-format json"},
        grace="--stream-grace {seconds}",
        kinds=("asgi", "reload", "flask"),
    ),
    Server(
        "uvicorn",
        "uvicorn",
        "-m uvicorn {app} --workers {workers} --port {port} --loop uvloop --http httptools",
        {
            LOG_OFF: "--no-access-log",
            LOG_TEXT: "--access-log",
            LOG_JSON: "--log-config uvicorn_json_log.json",
        },
        grace="--timeout-graceful-shutdown {seconds}",
        kinds=("asgi", "reload"),
    ),
    Server(
        "gunicorn",
        "gunicorn",
        "-m gunicorn {app} -k asgi --asgi-loop uvloop --no-control-socket -w {workers} -b {bind}",
        {
            LOG_OFF: "",
            LOG_TEXT: f"--access-logfile - --access-logformat '{TEXT_ATOMS}'",
            LOG_JSON: f"--access-logfile - --access-logformat '{JSON_ATOMS}'",
        },
        grace="--graceful-timeout {seconds}",
        kinds=("asgi", "reload"),
    ),
    Server(
        "granian",
        "granian",
        "-m granian {app} --interface asgi --loop uvloop --workers {workers} --port {port}",
        {
            LOG_OFF: "--no-access-log",
            LOG_TEXT: "--access-log",
            LOG_JSON: f"--access-log --access-log-fmt '{GRANIAN_JSON}'",
        },
        grace="--workers-kill-timeout {seconds}",
        kinds=("asgi", "reload"),
    ),
    Server(
        "hypercorn",
        "hypercorn",
        "-m hypercorn {app} -k uvloop -w {workers} -b {bind}",
        {
            LOG_OFF: "",
            LOG_TEXT: f"--access-logfile - --access-logformat '{TEXT_ATOMS}'",
            LOG_JSON: f"--access-logfile - --access-logformat '{JSON_ATOMS}'",
        },
    ),
    Server(
        "hsrv-no-preload",
        "hsrv",
        "-m hsrv start {app} --preload none --workers {workers} --bind {bind}",
        {LOG_OFF: "--no-access-log"},
        kinds=("memory",),
    ),
    Server(
        "gunicorn-preload",
        "gunicorn",
        "-m gunicorn {app} -k asgi --preload --asgi-loop uvloop --no-control-socket -w {workers} -b {bind}",
        {LOG_OFF: ""},
        kinds=("memory",),
    ),
    Server(
        "gunicorn-sync",
        "gunicorn",
        "-m gunicorn plain:app -k sync --no-control-socket -w {workers} -b {bind}",
        {LOG_OFF: ""},
        kinds=("wsgi",),
    ),
    Server(
        "gunicorn-sync-app",
        "gunicorn",
        "-m gunicorn {app} -k sync --no-control-socket -w {workers} -b {bind}",
        {LOG_OFF: ""},
        kinds=("flask",),
    ),
    Server(
        "gunicorn-gthread",
        "gunicorn",
        "-m gunicorn {app} -k gthread --threads 4 --no-control-socket -w {workers} -b {bind}",
        {LOG_OFF: ""},
        kinds=("flask",),
    ),
    Server(
        "granian-wsgi",
        "granian",
        "-m granian {app} --interface wsgi --workers {workers} --port {port}",
        {LOG_OFF: "--no-access-log"},
        kinds=("flask",),
    ),
    Server(
        "nginx", "", "nginx -p {folder} -c {folder}/nginx.conf", {LOG_OFF: ""}, kinds=("static",), limit=True
    ),
)
ALSO: Final = "BENCH_ALSO"
"""Environment variable: other environments with hsrv, as `NAME=PYTHON ...`. Each is measured as hsrv-NAME in the same
rounds: an earlier version (`before=...`), or the one that isn't compiled (`plain=...`)."""

SERVERS: Final = (
    *_SERVERS,
    *(
        replace(_SERVERS[0], name=f"hsrv-{name}", python=python)
        for name, _, python in (pair.partition("=") for pair in os.environ.get(ALSO, "").split())
    ),
)
BY_NAME: Final = {server.name: server for server in SERVERS}

OWN_SETTINGS: Final = re.compile(r"(HSRV|UVICORN|GRANIAN|GUNICORN|HYPERCORN)_|WEB_CONCURRENCY$|PORT$")
"""Environment variables that would configure a server behind the table's back."""


def nginx_path() -> str | None:
    """sbin is not on everybody's path."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def missing(server: Server) -> str | None:
    """Why this server can't run here."""
    if not server.package:
        return None if nginx_path() else "nginx is not installed (a package of the system)"
    if server.python != sys.executable:
        return None if shutil.which(server.python) else f"{server.python} ({ALSO}) can't be executed"
    found = importlib.util.find_spec(server.package) is not None
    return None if found else f"{server.package} is not installed in .bench/venv (make bench does it)"


def version(server: Server) -> str:
    if server.package == "hsrv":  # where the servers run, and as they do: a checkout is never compiled
        command = [server.python, "-m", "hsrv", "version"]
        done = subprocess.run(command, cwd=APPS, capture_output=True, text=True, check=True)
        return done.stdout.strip().removeprefix("hsrv ")
    if server.package:
        return importlib.metadata.version(server.package)
    done = subprocess.run([nginx_path() or "nginx", "-v"], capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("/")[2]


def command(
    server: Server, app: str, *, workers: int, port: int, log: str, folder: Path, grace: int = 0
) -> list[str]:
    """What to execute. Split before filling in, so that a folder may contain spaces."""
    values = {"app": app, "workers": workers, "port": port, "bind": f"127.0.0.1:{port}", "folder": folder}
    parts = [part.format(**values) for part in shlex.split(server.command)]
    if server.package:
        limits = shlex.split(server.grace.format(seconds=grace)) if grace else []
        return [server.python, *parts, *shlex.split(server.log[log]), *limits]
    folder.joinpath("nginx.conf").write_text(NGINX_CONF.format(**values))
    return [nginx_path() or "nginx", *parts[1:]]


def environment() -> dict[str, str]:
    """Without PYTHONDONTWRITEBYTECODE, with which the applications would be compiled at every start."""
    return {
        name: value
        for name, value in os.environ.items()
        if not OWN_SETTINGS.match(name) and name != "PYTHONDONTWRITEBYTECODE"
    }
