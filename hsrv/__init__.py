"""hsrv: a Python application server for short requests and long-lived streams, in separate processes.

The public API is what `__all__` names. It is loaded on first use, so that importing hsrv costs nothing.
"""

import importlib

TYPE_CHECKING = False  # that of `typing`, whose import would take longer than all else here
if TYPE_CHECKING:
    from typing import Any

    from hsrv.api import run
    from hsrv.config import Config
    from hsrv.errors import ConfigError, ExitCode, HsrvError
    from hsrv.events import subscribe
    from hsrv.sources import load_config
    from hsrv.whichprocess import process

__version__ = "0.1.0"
__all__ = [
    "Config",
    "ConfigError",
    "ExitCode",
    "HsrvError",
    "__version__",
    "load_config",
    "process",
    "run",
    "subscribe",
]

_HOME = {
    "Config": "hsrv.config",
    "ConfigError": "hsrv.errors",
    "ExitCode": "hsrv.errors",
    "HsrvError": "hsrv.errors",
    "load_config": "hsrv.sources",
    "process": "hsrv.whichprocess",
    "run": "hsrv.api",
    "subscribe": "hsrv.events",
}


def __getattr__(name: str) -> "Any":
    """PEP 562."""
    if name not in _HOME:
        raise AttributeError(f"module 'hsrv' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
