"""A pytest fixture that starts real servers. Installed with hsrv; imports nothing heavy until it is used."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture
def hsrv_server() -> Iterator[Callable[..., Any]]:
    """A function that starts a `hsrv.testing.LiveServer` (same arguments); all are stopped after the test."""
    from hsrv.testing import LiveServer  # noqa: PLC0415  # every pytest run loads this plugin

    with ExitStack() as servers:

        def start(app: str, **options: Any) -> LiveServer:
            return servers.enter_context(LiveServer(app, **options))

        yield start
