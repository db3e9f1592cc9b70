"""An application that replaces threads, locks, forks and polls of the standard library is served all the same."""

import pytest

from hsrv.common.errors import ExitCode
from tests.integration.conftest import Serve
from tests.integration.wire import Wire


@pytest.mark.parametrize("preload", ["app", "none"])
def test_what_hsrv_needs_it_has_taken_before_the_import(serve: Serve, preload: str) -> None:
    server = serve("tests.apps.patched:app", workers=1, preload=preload, loop="auto")
    for fields in ((), ("Accept: text/event-stream",)):
        with Wire(server.host, server.port) as wire:
            for _ in range(2):
                answer = wire.get("/", *fields)
                assert (answer.status, answer.body) == (200, b"patched")
    assert server.stop() == ExitCode.OK
    assert not [entry for entry in server.logs if entry.get("level") in ("error", "critical")]
