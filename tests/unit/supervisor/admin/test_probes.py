"""The probes at each moment of a server's life."""

import json
from collections.abc import Awaitable, Callable

import pytest

from hsrv.supervisor.admin.http.route import Request, Response
from hsrv.supervisor.admin.probes import UNAVAILABLE, Probes
from tests.unit.supervisor.plan.fleets import Fleet

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def asked(probe: Callable[[Request], Awaitable[Response]]) -> tuple[int, str, str]:
    response = await probe(Request(method="GET", path="/"))
    said = json.loads(response.body)
    return response.status, said["status"], said.get("reason", "")


async def test_a_server_that_starts_lives_and_is_neither_ready_nor_started() -> None:
    fleet = Fleet()
    fleet.start()
    probes = Probes(fleet.plan)
    assert await asked(probes.livez) == (200, "alive", "")
    assert await asked(probes.readyz) == (UNAVAILABLE, "not ready", "starting")
    why = "the application is being imported"
    assert await asked(probes.startupz) == (UNAVAILABLE, "starting", why)


async def test_one_that_serves_is_ready_and_says_what_it_has() -> None:
    fleet = Fleet()
    fleet.serve()
    response = await Probes(fleet.plan).readyz(Request(method="GET", path="/readyz"))
    assert json.loads(response.body) == {
        "status": "ready",
        "reason": "",
        "generation": 1,
        "workers": {"serving": 2, "wanted": 2},
        "pools": {"serving": 1, "wanted": 1},
    }


async def test_a_start_is_over_for_good_but_readiness_ends_with_a_stop() -> None:
    fleet = Fleet()
    fleet.serve()
    fleet.stop()
    probes = Probes(fleet.plan)
    assert await asked(probes.readyz) == (UNAVAILABLE, "not ready", "stopping")
    assert await asked(probes.startupz) == (200, "started", "")


async def test_a_server_that_was_stopped_before_it_served_says_so() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.stop()
    assert await asked(Probes(fleet.plan).startupz) == (UNAVAILABLE, "starting", "stopping")
