"""hsrv: a Python application server for short requests and long-lived streams, in separate processes.

The public API consists of the names in `__all__`. They are loaded on first use, so that importing hsrv costs nothing.

The folders in import order, each imports only from those before it (tests/test_layers.py): `common` (shared types, no
I/O), `options` (every option, declared), `ipc` (packets and messages between processes), `logs` (structured lines,
access log), `sources` (values of the options), `system` (the operating system), `net` (sockets, event loops), `rpc`
(the control channels), `app` (loading and starting the application), `develop` (`--reload`), `board` (state of
processes in shared memory), `events` (for collectors), `http` (HTTP/1.1), `status` (figures for `hsrv top` and the
dashboard), `child` (the template, and the lifecycle of its children), `serving` (what a worker and a pool share),
`worker`, `asyncpool`, `operate` (commands for a running server), `supervisor`.

Top-level modules, in reading order: `__main__` and `cli` (the command), `starting` (serve), `api` (hsrv.run), `otel`
(OpenTelemetry), `testing` and `pytest_plugin` (a server in tests), `demo`.
"""

import importlib

TYPE_CHECKING = False  # that of `typing`, whose import would take longer than all else here
if TYPE_CHECKING:
    from typing import Any

    from hsrv.api import run
    from hsrv.child.leadership import leadership
    from hsrv.child.whichprocess import process
    from hsrv.common.errors import ConfigError, ExitCode, HsrvError
    from hsrv.common.version import __version__
    from hsrv.events.types import subscribe
    from hsrv.options.config import Config
    from hsrv.sources.sources import load_config

__all__ = [
    "Config",
    "ConfigError",
    "ExitCode",
    "HsrvError",
    "__version__",
    "leadership",
    "load_config",
    "process",
    "run",
    "subscribe",
]

_MODULES = {
    "__version__": "hsrv.common.version",
    "Config": "hsrv.options.config",
    "ConfigError": "hsrv.common.errors",
    "ExitCode": "hsrv.common.errors",
    "HsrvError": "hsrv.common.errors",
    "leadership": "hsrv.child.leadership",
    "load_config": "hsrv.sources.sources",
    "process": "hsrv.child.whichprocess",
    "run": "hsrv.api",
    "subscribe": "hsrv.events",
}


def __getattr__(name: str) -> "Any":
    """PEP 562."""
    if name not in _MODULES:
        raise AttributeError(f"module 'hsrv' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
