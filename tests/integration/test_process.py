"""`hsrv.process()` tells the application which process it is in."""

import pytest

import hsrv
from tests.integration.conftest import Serve
from tests.integration.wire import Wire


@pytest.mark.parametrize("preload", ["app", "none"])
def test_a_process_knows_which_it_is_wherever_it_asks(serve: Serve, preload: str) -> None:
    server = serve("tests.apps.whoami:app", workers=1, preload=preload)
    found = {}
    for role, fields in (("worker", ()), ("pool", ("Accept: text/event-stream",))):
        with Wire(server.host, server.port) as wire:
            found[role] = wire.get("/", *fields).json
    imported = {role: "template" if preload == "app" else role for role in found}
    assert found == {
        "worker": [imported["worker"], "worker-1", "worker", 1, 1, True],
        "pool": [imported["pool"], "pool-1", "pool", 1, 1, False],
    }


def test_without_hsrv_a_process_is_alone_and_so_the_leader() -> None:
    assert hsrv.process().leader
