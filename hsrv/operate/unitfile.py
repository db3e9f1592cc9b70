"""`hsrv systemd-unit`: a unit that starts the server as it would start now. Only `facts()` looks at the system, the
rest is pure.

Promises: no secret is written into the unit, because any user can read units (`systemctl cat`, `systemctl show`).

The settings common to all units are in `deploy/systemd/hsrv@.service`, with comments that explain them; a test compares
the two.
"""

import math
import os
import pwd
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hsrv.options.bindspec import TcpBind, UnixBind, parse_bind
from hsrv.options.config import Config, OptionInfo, options
from hsrv.options.stopbudget import START_STAGES, longest_stop_of
from hsrv.sources.layers import Sources

START_MARGIN: Final = 10.0
"""Seconds beyond the budgets of a start (`START_STAGES`)."""

PRIVILEGED: Final = 1024
"""Ports below it need a capability."""

FROM_FILE: Final = "file:"
"""Prefix of the path of a file that contains a secret, given instead of the secret."""

HOMES: Final = ("/home", "/root", "/run/user")
"""Directories that ProtectHome= hides."""

COMMON: Final = """\
WatchdogSec=30
KillMode=mixed
Restart=on-failure
RestartSec=1
RestartPreventExitStatus=2 3 4
FileDescriptorStoreMax=64
Environment=FDSTORE=64
LimitNOFILE=65536
UMask=0027
NoNewPrivileges=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""


@dataclass(frozen=True)
class Facts:
    """Facts that a unit needs and the configuration doesn't contain."""

    name: str
    program: tuple[str, ...]
    """The hsrv command."""
    folder: str
    python: str
    """Real directory of the interpreter and its libraries."""
    user: str
    """"" for root."""
    environ: Mapping[str, str]


def facts(name: str | None) -> Facts:
    """The facts of this process. `name`: of the unit; default: that of the directory."""
    folder = os.environ.get("PWD", "")
    if not folder or not Path(folder).samefile(Path.cwd()):
        folder = str(Path.cwd())
    script = Path(sys.executable).with_name("hsrv")
    program = (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "hsrv")
    user = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else ""
    return Facts(name or Path(folder).name or "app", program, folder, sys.base_prefix, user, os.environ)


def service(config: Config, sources: Sources, facts: Facts, config_file: str | None) -> str:
    """The .service."""
    lines = [
        "[Unit]",
        f"Description=hsrv: {_percent(config.app or facts.name)}",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        *_account(config, facts),
        f"WorkingDirectory={_percent(facts.folder)}",
        *_run_dir(config, facts),
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in _variables(sources, facts)),
        *_credentials(config, sources, facts),
        f"ExecStart={_command(facts.program, 'start', *_arguments(config, sources, config_file))}",
        f"ExecReload={_command(facts.program, 'reload')}",
        f"TimeoutStartSec={math.ceil(START_STAGES * config.startup_timeout + START_MARGIN)}",
        f"TimeoutStopSec={math.ceil(longest_stop_of(config))}",
        *_capabilities(config),
        *_hidden(facts),
        *COMMON.splitlines(),
        *_writable(config),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def sockets(config: Config, facts: Facts) -> str:
    """The .socket, with the same addresses: systemd binds them, and --bind is not used."""
    lines = ["[Unit]", f"Description=hsrv: sockets of {_percent(facts.name)}", "", "[Socket]"]
    for text in config.bind:
        bind = parse_bind(text)
        if isinstance(bind, TcpBind):
            host = f"[{bind.host}]" if ":" in bind.host else bind.host
            lines.append(f"ListenStream={host}:{bind.port}")
        elif isinstance(bind, UnixBind):
            lines += [
                f"ListenStream={_percent(str(Path(facts.folder, bind.path)))}",
                f"SocketMode={config.unix_mode}",
            ]
    lines += [f"Backlog={config.backlog}", "Accept=no", "FileDescriptorName=http"]
    return "\n".join([*lines, "", "[Install]", "WantedBy=sockets.target"]) + "\n"


def _account(config: Config, facts: Facts) -> Iterator[str]:
    user = config.user or facts.user
    if user:
        yield f"User={user}"
    else:
        yield "# Runs as root. Better: User= with an unprivileged user"
    if config.group:
        yield f"Group={config.group}"


def _run_dir(config: Config, facts: Facts) -> Iterator[str]:
    if config.run_dir is None:
        yield f"RuntimeDirectory=hsrv-{facts.name}"
        yield "RuntimeDirectoryMode=0700"
        yield "RuntimeDirectoryPreserve=restart"
        yield f"Environment=HSRV_RUN_DIR=%t/hsrv-{facts.name}"
    else:
        yield f"Environment={_quoted(f'HSRV_RUN_DIR={Path(facts.folder, config.run_dir)}')}"


def _is_hidden(option: OptionInfo, value: object) -> bool:
    """Whether this value is a secret itself, and not the file that it is read from."""
    return option.opt.secret and value is not None and not str(value).startswith(FROM_FILE)


def _credentials(config: Config, sources: Sources, facts: Facts) -> Iterator[str]:
    """Load the secrets that were given on the command line or in the environment from files."""
    for option in options():
        source, value = sources[option.name], getattr(config, option.name)
        given = facts.environ.get(source, value if source.startswith("--") else None)
        if _is_hidden(option, given):
            path = f"/etc/hsrv/{_percent(facts.name)}.{option.name}"
            yield f"# {option.flag} is a secret and not written here: put it into {path}, readable only by root"
            yield f"LoadCredential={option.name}:{path}"
            yield f"Environment={option.variable}={FROM_FILE}%d/{option.name}"


def _variables(sources: Sources, facts: Facts) -> Iterator[tuple[str, str]]:
    """The variables that set an option."""
    hidden = {one.variable for one in options() if _is_hidden(one, facts.environ.get(one.variable))}
    for name in dict.fromkeys(sources.values()):
        if name in facts.environ and name != "HSRV_RUN_DIR" and name not in hidden:
            yield name, facts.environ[name]
    if "HSRV_CONFIG" in facts.environ:
        yield "HSRV_CONFIG", facts.environ["HSRV_CONFIG"]


def _arguments(config: Config, sources: Sources, config_file: str | None) -> Iterator[str]:
    """The options of the command line."""
    if sources["app"] == "APP" and config.app is not None:
        yield config.app
    if config_file is not None:
        yield from ("--config", config_file)
    for option in options():
        value = getattr(config, option.name)
        if (
            sources[option.name].startswith("--")
            and option.name != "run_dir"
            and not _is_hidden(option, value)
        ):
            yield from _option(option, value)


def _option(option: OptionInfo, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield option.flag if value else f"--no-{option.flag[2:]}"
        return
    for one in value if option.is_list else (value,):
        yield from (option.flag, f"{one:g}" if isinstance(one, float) else str(one))


def _capabilities(config: Config) -> Iterator[str]:
    binds = [parse_bind(text) for text in config.bind]
    needed = any(isinstance(bind, TcpBind) and 0 < bind.port < PRIVILEGED for bind in binds)
    capability = "CAP_NET_BIND_SERVICE" if needed else ""
    yield f"CapabilityBoundingSet={capability}"
    yield f"AmbientCapabilities={capability}"


def _hidden(facts: Facts) -> Iterator[str]:
    """Hide directories that the server doesn't need, unless the application or Python is in them."""
    temporary = any(Path(facts.folder).is_relative_to(folder) for folder in ("/tmp", "/var/tmp"))
    yield f"PrivateTmp={'no' if temporary else 'yes'}"
    places = [Path(place) for place in (facts.folder, facts.program[0], facts.python)]
    inside = any(place.is_relative_to(home) for place in places for home in HOMES)
    yield "ProtectHome=read-only" if inside else "ProtectHome=yes"


def _writable(config: Config) -> Iterator[str]:
    """Directories in which socket files are created."""
    for text in config.bind:
        bind = parse_bind(text)
        if isinstance(bind, UnixBind) and Path(bind.path).is_absolute():
            yield f"ReadWritePaths={_quoted(str(Path(bind.path).parent))}"


def _command(program: tuple[str, ...], *arguments: str) -> str:
    return " ".join(_quoted(word).replace("$", "$$") for word in (*program, *arguments))


def _quoted(word: str) -> str:
    """One word in the syntax of systemd.syntax(7), with nothing expanded; `_command` escapes `$` too."""
    escaped = _percent(word).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    plain = escaped == word and word and not set(word) & set(" \t';")
    return word if plain else f'"{escaped}"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")
