"""What a worker or pool starts with."""

from typing import Any, cast

import pytest

from hsrv.app.apploader import LoadedApp
from hsrv.child.boot import ChildBoot
from hsrv.common.terms import Identity, Role
from hsrv.options.config import Config


async def application(scope: Any, receive: Any, send: Any) -> None:
    pass


def boot(app: LoadedApp | None) -> ChildBoot:
    unused = cast("Any", None)
    return ChildBoot(
        identity=Identity(Role.WORKER, 1, 1),
        config=Config(),
        app=app,
        control=unused,
        board=unused,
        log_context={},
        handoff_send=unused,
        handoff_receive=unused,
        adopt_send=unused,
        adopt_receive=unused,
        listeners=[],
    )


def test_its_application_is_the_one_that_was_loaded() -> None:
    assert boot(LoadedApp(application, "main:app")).application is application


def test_there_is_none_before_it_is_loaded() -> None:
    with pytest.raises(AssertionError):
        _ = boot(None).application


def test_by_default_it_starts_at_once_and_serves_the_application() -> None:
    one = boot(None)
    assert (one.waits, one.broken, one.census, one.collectors) == (False, None, None, None)
