"""The event loop of a worker or pool: one per process, for its whole life."""

import asyncio
import sys
from typing import Any

from hsrv.common.errors import ConfigError

uvloop: Any
try:
    import uvloop
except ImportError:  # no wheel for this platform
    uvloop = None


class _SelectorLoop(asyncio.SelectorEventLoop):
    """A subclass, so that instances take attributes (see `hsrv.net.eager`)."""


if uvloop is not None:

    class _UVLoop(uvloop.Loop):  # type: ignore[misc]  # an optional import is Any
        """A subclass, so that instances take attributes (see `hsrv.net.eager`)."""


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """A loop by its option: auto, uvloop or asyncio. Raises ConfigError."""
    if name == "asyncio" or (name == "auto" and uvloop is None):
        return _SelectorLoop()
    if uvloop is None:
        raise ConfigError(f"--loop uvloop: uvloop is not installed for {sys.executable}")
    loop: asyncio.AbstractEventLoop = _UVLoop()
    return loop
