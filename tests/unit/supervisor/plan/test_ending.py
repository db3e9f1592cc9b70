"""A stop, and what leaves when another server takes over."""

import pytest

from hsrv.common.errors import ExitCode
from hsrv.common.terms import DeathReason
from hsrv.supervisor.plan.actions import (
    AnnounceClose,
    Dismiss,
    Drain,
    Exit,
    Finish,
    Kill,
    QuitTemplate,
    Serve,
    StopListening,
)
from hsrv.supervisor.plan.state import ServerPhase
from tests.unit.supervisor.plan.fleets import (
    DISMISSAL,
    WORKER_DRAIN,
    Fleet,
    drain,
    kinds,
    roles,
)

# stop


def test_a_stop_drains_all_and_ends_with_the_last_exit(fleet: Fleet) -> None:
    actions = fleet.stop()
    assert actions == [StopListening(), *(drain(fleet.who(name), adopt=False) for name in fleet.all_names())]
    assert fleet.exited("worker-2") == []
    assert fleet.exited("worker-1") == [Finish(fleet.who("pool-1"))]
    assert fleet.exited("pool-1") == [QuitTemplate(1), Exit(ExitCode.OK)]
    assert fleet.plan.phase is ServerPhase.OVER


def test_a_pool_has_its_lifespan_shutdown_after_that_of_the_last_worker(fleet: Fleet) -> None:
    fleet.stop()
    fleet.tick(WORKER_DRAIN - 1.0)
    fleet.exited("worker-1")
    fleet.exited("worker-2")
    assert fleet.next_in() == DISMISSAL
    assert fleet.tick(DISMISSAL - 1.0) == []
    assert fleet.exited("pool-1") == [QuitTemplate(1), Exit(ExitCode.OK)]


def test_each_pool_has_that_time_once() -> None:
    fleet = Fleet(pools=2)
    fleet.serve()
    fleet.stop()
    fleet.tick(WORKER_DRAIN - 1.0)
    fleet.exited("worker-1")
    fleet.exited("worker-2")
    fleet.tick(DISMISSAL - 1.0)
    assert kinds(fleet.exited("pool-1")) == [Finish]
    assert fleet.next_in() == 1.0


def test_what_dies_in_a_stop_is_not_replaced(fleet: Fleet) -> None:
    fleet.exited("worker-1")
    fleet.exited("worker-1")
    fleet.stop()
    assert fleet.tick(1.0) == [], "the one that was due is not either"
    assert fleet.exited("worker-2", reason="was killed by SIGSEGV") == [Finish(fleet.who("pool-1"))]
    assert fleet.said[0].details["reason"] == "was killed by SIGSEGV"
    assert fleet.template_gone() == []
    assert fleet.exited("pool-1") == [QuitTemplate(1), Exit(ExitCode.OK)]


def test_a_stop_past_its_budgets_kills_and_says_so_in_the_exit_code(fleet: Fleet) -> None:
    fleet.stop()
    fleet.exited("worker-1")
    fleet.exited("pool-1")
    assert roles(fleet.tick(WORKER_DRAIN)) == ["worker-2"]
    assert fleet.exited("worker-2") == [QuitTemplate(1), Exit(ExitCode.FORCED)]


def test_a_drain_delay_asks_to_close_and_drains_when_it_is_over() -> None:
    fleet = Fleet(drain_delay=7.0)
    fleet.serve()
    assert fleet.stop() == [AnnounceClose(fleet.who(name)) for name in fleet.all_names()]
    assert fleet.next_in() == 7.0
    assert fleet.tick(6.9) == []
    assert kinds(fleet.tick(0.1)) == [StopListening, Drain, Drain, Drain]


def test_what_dies_in_a_drain_delay_is_replaced_and_asks_to_close_too() -> None:
    fleet = Fleet(drain_delay=7.0)
    fleet.serve()
    fleet.stop()
    assert roles(fleet.exited("worker-1")) == ["worker-1"]
    assert fleet.ready("worker-1") == [Serve(fleet.who("worker-1")), AnnounceClose(fleet.who("worker-1"))]


def test_a_second_signal_ends_it_at_once(fleet: Fleet) -> None:
    fleet.stop()
    assert fleet.stop() == [StopListening()] + [
        Kill(fleet.who(name), DeathReason.STOPPED, "a second signal") for name in fleet.all_names()
    ]
    assert fleet.end()[-1] == Exit(ExitCode.FORCED)


def test_a_second_signal_in_a_drain_delay_ends_it_at_once() -> None:
    fleet = Fleet(drain_delay=60.0)
    fleet.serve()
    fleet.stop()
    assert kinds(fleet.stop()) == [StopListening, Kill, Kill, Kill]


def test_quit_waits_for_nobody(fleet: Fleet) -> None:
    fleet.serve(2)
    assert kinds(fleet.stop_now()) == [StopListening] + [Kill] * 6
    fleet.end(1)
    assert fleet.end(2)[-1] == Exit(ExitCode.FORCED)
    assert fleet.stop_now() == []
    assert fleet.stop() == []


def test_a_stop_while_the_template_starts_ends_at_once() -> None:
    fleet = Fleet(drain_delay=60.0)
    fleet.start()
    assert fleet.stop() == [StopListening(), QuitTemplate(1), Exit(ExitCode.OK)]
    assert fleet.template_ready() == []
    assert fleet.saw(fleet.plan.template_unsafe(1, "threads", fleet.now)) == []
    assert fleet.saw(fleet.plan.template_failed(1, "x", "", fleet.now)) == []
    assert fleet.template_gone() == []


def test_a_stop_while_children_start_dismisses_them() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    fleet.ready("pool-1")
    assert kinds(fleet.stop()) == [StopListening, Dismiss, Dismiss, Dismiss]
    assert fleet.ready("worker-1") == [], "too late"
    assert fleet.exited("worker-2", reason="could not be forked") == []
    assert fleet.exited("worker-1") == []
    assert fleet.exited("pool-1") == [QuitTemplate(1), Exit(ExitCode.OK)]


@pytest.mark.parametrize("delay", [0.0, 7.0])
def test_a_stop_while_reloading_gives_the_reload_up(delay: float) -> None:
    fleet = Fleet(drain_delay=delay)
    fleet.serve()
    fleet.start()
    fleet.template_ready(2)
    fleet.start()
    assert kinds(fleet.stop()).count(Dismiss) == 3
    assert fleet.end(2)[-1] == QuitTemplate(2)
    assert kinds(fleet.tick(delay)).count(Drain) == (3 if delay else 0)
    assert fleet.end(1)[-1] == Exit(ExitCode.OK)


def test_a_stop_while_an_old_generation_drains_tells_it_that_nobody_adopts(fleet: Fleet) -> None:
    fleet.serve(2)
    fleet.tick(10.0)
    actions = fleet.stop()
    drains = [action for action in actions if isinstance(action, Drain)]
    assert {drain.identity.generation for drain in drains} == {1, 2}
    assert not any(drain.adopt for drain in drains)
    assert fleet.next_in() == WORKER_DRAIN - 10.0, "its budget goes on"
    assert fleet.end(1)[-1] == QuitTemplate(1)
    assert fleet.end(2)[-1] == Exit(ExitCode.OK)


def test_a_signal_while_a_failed_start_ends_keeps_the_exit_code() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    fleet.failed("worker-1")
    assert kinds(fleet.stop()) == [StopListening, Kill, Kill, Kill]
    assert fleet.end()[-1] == Exit(ExitCode.APP)


# another server takes over


@pytest.mark.parametrize("adopt", [True, False])
def test_leaving_drains_everything_and_stops_nobody_from_connecting(adopt: bool) -> None:
    fleet = Fleet()
    fleet.serve()
    workers = [fleet.who(name) for name in ("worker-1", "worker-2", "pool-1")]
    left = fleet.saw(fleet.plan.leave(fleet.now, adopt=adopt))
    assert sorted(map(str, left)) == sorted(str(drain(who, adopt=adopt)) for who in workers)
    assert fleet.plan.phase is ServerPhase.STOPPING
    assert fleet.saw(fleet.plan.leave(fleet.now, adopt=adopt)) == []
    assert fleet.end()[-1] == Exit(ExitCode.OK)
