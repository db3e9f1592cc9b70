"""What the plan goes by, and what a reload takes over of it."""

from dataclasses import replace as changed

import msgspec
import pytest

from hsrv.common.terms import Preload
from hsrv.options.config import Config
from hsrv.supervisor.plan.actions import Drain, SpawnTemplate
from hsrv.supervisor.plan.fleet import Budgets
from hsrv.supervisor.plan.settings import FIXED, changed_config, settings_of
from tests.unit.supervisor.plan.fleets import BUDGETS, Fleet, roles


def test_the_plan_goes_by_the_configuration() -> None:
    found = settings_of(
        Config(
            workers=3,
            pools=2,
            preload=Preload.LIBRARIES,
            max_draining=7,
            leader_first=False,
            startup_timeout=1.0,
            graceful_timeout=2.0,
            stream_grace=3.0,
            lifespan_shutdown_timeout=4.0,
            drain_delay=5.0,
            handoff_timeout=6.0,
        )
    )
    assert (found.workers, found.pools, found.preload, found.max_draining) == (3, 2, Preload.LIBRARIES, 7)
    assert not found.leader_first
    assert found.budgets == found.stop_budgets
    assert found.budgets == Budgets(
        startup=1.0, graceful=2.0, stream_grace=3.0, lifespan_shutdown=4.0, drain_delay=5.0, handoff=6.0
    )


def test_a_reload_takes_over_pools_preload_and_max_draining(fleet: Fleet) -> None:
    fleet.configure(pools=2, preload=Preload.NONE, max_draining=1)
    assert fleet.start() == [SpawnTemplate(2, Preload.NONE)]
    assert roles(fleet.template_ready(2)) == ["pool-1", "pool-2", "worker-1", "worker-2"]
    for name in fleet.all_names():
        fleet.ready(name, 2)
    fleet.start()
    fleet.template_ready(3)
    actions = [fleet.ready(name, 3) for name in fleet.all_names()][-1]
    hurried = {a.identity.generation for a in actions if isinstance(a, Drain) and a.stream_grace == 0}
    assert hurried == {1}, "of the two that drain"


def test_in_development_a_reload_takes_over_neither_budgets_nor_preload() -> None:
    fleet = Fleet(development=True)
    fleet.serve()
    fleet.configure(preload=Preload.NONE, budgets=changed(BUDGETS, startup=1.0), pools=2)
    assert (fleet.plan.budgets, fleet.plan.pools) == (BUDGETS, 2)
    assert SpawnTemplate(2, Preload.AUTO) in fleet.start()


@pytest.mark.parametrize("name", FIXED)
def test_what_a_reload_can_not_change_stays_and_is_named(name: str) -> None:
    before = Config(workers=1)
    other = {str: "other", bool: not getattr(before, name), tuple: ("unix:/run/other",)}
    wanted = msgspec.structs.replace(before, workers=2, **{name: other.get(type(getattr(before, name)), 9)})
    changed, unchanged = changed_config(before, wanted)
    assert unchanged == [name]
    assert getattr(changed, name) == getattr(before, name)
    assert changed.workers == 2, "the others are as they are wanted"
