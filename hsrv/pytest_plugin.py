"""A pytest fixture that starts real servers.

Installed with hsrv. Must not import anything slow before it is used: every pytest run in its environment loads it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hsrv.testing import LiveServer


@pytest.fixture
def hsrv_server() -> Iterator[Callable[..., "LiveServer"]]:
    """A function that starts a `hsrv.testing.LiveServer` (same arguments). All are stopped after the test."""
    from hsrv.testing import LiveServer  # noqa: PLC0415  # see above

    with ExitStack() as servers:

        def start(app: Any, **options: Any) -> LiveServer:
            return servers.enter_context(LiveServer(app, **options))

        yield start
