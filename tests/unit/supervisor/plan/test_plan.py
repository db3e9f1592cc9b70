"""The plan by table: events in, actions out."""

import inspect
import itertools
from collections.abc import Callable
from math import inf

import pytest

from hsrv.common.errors import ExitCode
from hsrv.common.tables import IllegalMoveError, Machine
from hsrv.common.terms import DeathReason, Identity, Preload, Role
from hsrv.supervisor.plan.actions import (
    Actions,
    Announce,
    AnnounceClose,
    BeginStartup,
    Dismiss,
    Drain,
    Exit,
    Finish,
    ForkChild,
    Kill,
    KillTemplate,
    Line,
    MoveHandoffs,
    OperationEnded,
    PoolAvailable,
    QuitTemplate,
    Serve,
    SpawnTemplate,
    StopListening,
)
from hsrv.supervisor.plan.ending import KILL_TIMEOUT
from hsrv.supervisor.plan.fleet import GENERATION, Gen, GenEvent
from hsrv.supervisor.plan.members import SILENCE_TIMEOUT
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.state import ServerPhase, View
from tests.unit.supervisor.plan.fleets import (
    BUDGETS,
    DISMISSAL,
    WORKER_DRAIN,
    Fleet,
    drain,
    kinds,
    roles,
)

# start


def test_a_start_spawns_a_template_and_forks_pools_before_workers() -> None:
    fleet = Fleet(workers=2, pools=2)
    assert fleet.start() == [SpawnTemplate(1, Preload.AUTO)]
    forks = fleet.template_ready()
    assert roles(forks) == ["pool-1", "pool-2", "worker-1", "worker-2"]
    assert [fork.identity.leader for fork in forks if isinstance(fork, ForkChild)] == [
        False,
        False,
        True,
        False,
    ]


def test_it_serves_when_the_last_one_is_ready_and_pools_first() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    assert fleet.ready("worker-2") == []
    assert fleet.ready("worker-1") == []
    actions = fleet.ready("pool-1")
    assert roles(actions) == ["pool-1", "worker-1", "worker-2"]
    assert kinds(actions) == [Serve, Serve, Serve, Announce]
    assert fleet.next_in() == inf, "nothing is due in peace"


# the leader first


def test_the_others_begin_their_startup_when_the_leader_is_ready() -> None:
    fleet = Fleet(workers=2, leader_first=True)
    fleet.start()
    forks = fleet.template_ready()
    assert [one.waits for one in forks if isinstance(one, ForkChild)] == [True, False, True]
    assert fleet.ready("worker-1") == [BeginStartup(fleet.who(name)) for name in ("pool-1", "worker-2")]
    assert fleet.ready("pool-1") == []
    assert kinds(fleet.ready("worker-2")) == [Serve, Serve, Serve, Announce]


def test_the_time_for_which_a_process_waits_for_the_leader_is_not_its_own() -> None:
    fleet = Fleet(workers=2, leader_first=True)
    fleet.start()
    fleet.template_ready()
    assert fleet.tick(BUDGETS.startup - 1) == []
    fleet.ready("worker-1")
    assert fleet.next_in() == BUDGETS.startup
    assert fleet.tick(BUDGETS.startup - 1) == []
    fleet.ready("pool-1")
    assert roles(fleet.tick(1)) == ["worker-2"], "it has a bound all the same"


def test_a_leader_that_is_late_is_the_one_that_is_told() -> None:
    fleet = Fleet(workers=2, leader_first=True)
    fleet.start()
    fleet.template_ready()
    assert roles(fleet.tick(BUDGETS.startup)) == ["worker-1"]
    actions = fleet.exited("worker-1", reason="was killed")
    assert actions == [Dismiss(fleet.who(name)) for name in ("pool-1", "worker-2")]
    assert fleet.ready("pool-1") == [], "it was told to go"


def test_who_is_started_once_the_leader_is_ready_waits_for_nobody() -> None:
    fleet = Fleet(workers=1, leader_first=True)
    fleet.start()
    fleet.template_ready()
    fleet.ready("worker-1")
    assert fleet.scale(1) == [ForkChild(fleet.who("worker-2"))]
    for name in fleet.all_names()[::2]:
        fleet.ready(name)
    forks = fleet.exited("worker-1") + fleet.exited("worker-2") + fleet.tick(60)
    assert [one.waits for one in forks if isinstance(one, ForkChild)] == [False, False], (
        "not in one that serves"
    )


def test_why_a_first_start_failed_is_said_last() -> None:
    fleet = Fleet(workers=1)
    fleet.start()
    fleet.template_ready()
    fleet.failed("worker-1")
    fleet.exited("worker-1", reason="exited with code 3")
    assert fleet.exited("pool-1") == [QuitTemplate(1), Exit(ExitCode.APP)]
    assert fleet.said[-1].details == {"code": 3, "error": "no database"}


def test_ready_may_arrive_before_forked() -> None:
    fleet = Fleet(workers=1)
    fleet.start()
    fleet.template_ready()
    for name in ("pool-1", "worker-1"):
        actions = fleet.saw(fleet.plan.child_ready(fleet.who(name), fleet.now))
    assert kinds(actions) == [Serve, Serve, Announce]


def test_an_import_that_leaves_threads_gets_a_template_that_imports_nothing() -> None:
    fleet = Fleet()
    fleet.start()
    assert fleet.saw(fleet.plan.template_unsafe(1, "threads: x", fleet.now)) == [
        SpawnTemplate(1, Preload.NONE)
    ]
    assert [said.level for said in fleet.said] == ["warning"]
    assert fleet.said[0].details["advice"] == "create it in the lifespan startup instead"
    assert kinds(fleet.template_ready()) == [ForkChild] * 3
    for name in fleet.all_names():
        fleet.ready(name)
    fleet.template_gone()
    assert fleet.tick() == [SpawnTemplate(1, Preload.NONE)], "the next one doesn't try again"


def test_an_import_that_fails_at_first_start_ends_the_server() -> None:
    fleet = Fleet()
    fleet.start()
    actions = fleet.saw(fleet.plan.template_failed(1, "no module", "Traceback", fleet.now))
    assert actions == [QuitTemplate(1), Exit(ExitCode.APP)]
    assert fleet.said[0].details == {"error": "no module", "exception": "Traceback"}


def test_a_template_that_dies_at_first_start_ends_the_server() -> None:
    fleet = Fleet()
    fleet.start()
    assert fleet.template_gone() == [QuitTemplate(1), Exit(ExitCode.APP)]
    assert "SIGKILL" in str(fleet.said[0].details["error"])


def test_a_template_that_dies_among_starting_children_takes_them_along() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    assert kinds(fleet.template_gone()) == [Dismiss] * 3
    assert fleet.end() == [QuitTemplate(1), Exit(ExitCode.APP)]


def test_a_template_that_hangs_in_its_import_is_killed_and_ends_the_start() -> None:
    fleet = Fleet()
    fleet.start()
    assert fleet.next_in() == BUDGETS.startup
    assert kinds(fleet.tick(BUDGETS.startup)) == [KillTemplate]
    assert fleet.next_in() == inf
    assert fleet.template_gone() == [QuitTemplate(1), Exit(ExitCode.APP)]


def test_the_first_failure_is_told_once_and_its_siblings_are_dismissed() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    fleet.ready("pool-1")
    assert fleet.failed("worker-1") == [
        Dismiss(fleet.who(name)) for name in ("pool-1", "worker-1", "worker-2")
    ]
    assert [said.level for said in fleet.said] == ["error"]
    for name in ("worker-2", "worker-1"):
        assert fleet.failed(name) == []
        assert fleet.said == []
        assert fleet.exited(name, reason="exited with code 3") == []
        assert [said.level for said in fleet.said] == ["info"]
    assert fleet.exited("pool-1") == [QuitTemplate(1), Exit(ExitCode.APP)]


def test_a_dismissed_process_that_stays_is_killed_and_the_exit_code_stays() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    fleet.ready("pool-1")
    fleet.exited("worker-1", reason="was killed by SIGSEGV")
    assert fleet.next_in() == BUDGETS.margin, "one that was not ready has nothing to shut down"
    assert roles(fleet.tick(BUDGETS.margin)) == ["worker-2"]
    assert fleet.tick(DISMISSAL - BUDGETS.margin - 0.1) == []
    assert roles(fleet.tick(0.1)) == ["pool-1"]
    assert fleet.end()[-1] == Exit(ExitCode.APP)


@pytest.mark.parametrize(("ready", "code"), [([], ExitCode.OK), (["pool-1"], ExitCode.FORCED)])
def test_to_kill_what_has_not_started_is_an_ordinary_stop(ready: list[str], code: ExitCode) -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    for name in ready:
        fleet.ready(name)
    fleet.stop()
    assert len(roles(fleet.tick(DISMISSAL))) == 3
    assert fleet.end()[-1] == Exit(code)


def test_a_death_while_starting_names_the_process_and_the_reason() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    fleet.exited("worker-2", reason="was killed by SIGSEGV")
    assert fleet.said[0].details == {"error": "worker-2 was killed by SIGSEGV while starting"}


def test_a_start_that_takes_too_long_is_a_failure() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    fleet.ready("pool-1")
    assert roles(fleet.tick(BUDGETS.startup)) == ["worker-1", "worker-2"]
    assert fleet.plan.phase is ServerPhase.RUNNING
    assert kinds(fleet.exited("worker-1", reason="was killed: not ready")) == [Dismiss]
    assert fleet.end()[-1] == Exit(ExitCode.APP)


# reload


def test_what_waits_for_the_pool_of_an_old_generation_that_has_none_is_moved() -> None:
    fleet = Fleet()
    fleet.serve()
    fleet.exited("pool-1", reason="was killed by SIGKILL")
    fleet.ready("pool-1")
    fleet.exited("pool-1", reason="was killed by SIGKILL")  # and the next one is not due yet
    assert MoveHandoffs(1) in fleet.serve(2)
    assert fleet.exited("worker-1", 1) == [MoveHandoffs(1)], "it may have handed over more"
    assert fleet.exited("worker-2", 1) == [QuitTemplate(1)]


def test_a_serving_generation_that_has_lost_everybody_at_once_goes_on() -> None:
    fleet = Fleet(workers=1)
    fleet.serve()
    fleet.scale(1)
    fleet.ready("worker-2")
    fleet.scale(-1)
    for name in ("worker-1", "pool-1"):
        fleet.exited(name)
        fleet.ready(name)
        fleet.exited(name)
    assert fleet.exited("worker-2") == []
    assert [action.identity.name for action in fleet.tick(5.0) if isinstance(action, ForkChild)] == [
        "worker-1",
        "pool-1",
    ]


def test_a_reload_drains_the_old_generation_when_the_new_one_serves(fleet: Fleet) -> None:
    assert fleet.start() == [SpawnTemplate(2, Preload.AUTO)]
    assert kinds(fleet.template_ready(2)) == [ForkChild] * 3
    fleet.ready("pool-1", 2)
    assert fleet.ready("worker-1", 2) == []
    actions = fleet.ready("worker-2", 2)
    assert kinds(actions) == [Serve] * 3 + [Announce] + [Drain] * 3
    assert all(drain.adopt for drain in actions if isinstance(drain, Drain))
    assert fleet.exited("worker-1") == []
    assert fleet.exited("worker-2") == [Finish(fleet.who("pool-1"))]
    assert fleet.exited("pool-1") == [QuitTemplate(1)]
    assert list(fleet.plan.generations) == [2]


def test_a_drain_past_its_budget_is_killed(fleet: Fleet) -> None:
    fleet.serve(2)
    assert fleet.next_in() == WORKER_DRAIN
    assert roles(fleet.tick(WORKER_DRAIN)) == ["pool-1", "worker-1", "worker-2"]
    assert fleet.end(1)[-1] == QuitTemplate(1)
    assert fleet.plan.exit_code is ExitCode.OK, "only a stop has an exit code"


def test_a_pool_has_its_grace_beyond_the_budget_of_requests() -> None:
    fleet = Fleet(stream_grace=100.0)
    fleet.serve()
    fleet.serve(2)
    assert roles(fleet.tick(WORKER_DRAIN)) == ["worker-1", "worker-2"]
    assert fleet.next_in() == min(KILL_TIMEOUT, 118.0 - WORKER_DRAIN)
    fleet.exited("worker-1")
    fleet.exited("worker-2")
    assert roles(fleet.tick(118.0 - WORKER_DRAIN)) == ["pool-1"]


FAILURES: dict[str, Callable[[Fleet], object]] = {
    "import": lambda fleet: fleet.saw(fleet.plan.template_failed(2, "no module", "Traceback", fleet.now)),
    "template death": lambda fleet: fleet.template_gone(2),
    "lifespan": lambda fleet: (fleet.template_ready(2), fleet.failed("worker-1", 2), fleet.end(2)),
    "child death": lambda fleet: (fleet.template_ready(2), fleet.exited("worker-1", 2), fleet.end(2)),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_reload_leaves_the_old_generation_untouched(fleet: Fleet, failure: str) -> None:
    fleet.start()
    FAILURES[failure](fleet)
    assert list(fleet.plan.generations) == [1]
    assert fleet.plan.phase is ServerPhase.RUNNING
    assert fleet.next_in() == inf
    assert fleet.start() == [SpawnTemplate(3, Preload.AUTO)], "the next reload may work"


def test_a_reload_while_reloading_follows_it(fleet: Fleet) -> None:
    fleet.start()
    assert fleet.start() == []
    fleet.start()
    fleet.template_ready(2)
    actions = [fleet.ready(name, 2) for name in fleet.all_names()][-1]
    assert actions[-1] == SpawnTemplate(3, Preload.AUTO)
    fleet.template_ready(3)
    actions = [fleet.ready(name, 3) for name in fleet.all_names()][-1]
    assert SpawnTemplate not in kinds(actions), "several requests are one"


def test_a_reload_while_a_failing_one_starts_follows_it(fleet: Fleet) -> None:
    fleet.start()
    fleet.start()
    assert fleet.template_gone(2) == [QuitTemplate(2), SpawnTemplate(3, Preload.AUTO)]


def test_a_reload_after_a_failed_first_start_does_nothing() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.start()
    fleet.template_ready()
    assert SpawnTemplate not in kinds(fleet.failed("worker-1"))
    assert fleet.start() == []


def test_a_generation_that_drains_can_be_superseded_again(fleet: Fleet) -> None:
    fleet.serve(2)
    actions = fleet.serve(3)
    assert {drain.identity.generation for drain in actions if isinstance(drain, Drain)} == {2}
    assert fleet.end(1)[-1] == QuitTemplate(1)
    assert fleet.end(2)[-1] == QuitTemplate(2)
    assert list(fleet.plan.generations) == [3]


# deaths


def test_a_dead_worker_is_replaced_at_once_and_serves_when_ready(fleet: Fleet) -> None:
    old = fleet.who("worker-1")
    actions = fleet.exited("worker-1", reason="was killed by SIGKILL")
    assert roles(actions) == ["worker-1"]
    assert fleet.said[0].level == "error"
    assert fleet.said[0].details["reason"] == "was killed by SIGKILL"
    new = fleet.who("worker-1")
    assert new is not old
    assert new.leader
    assert fleet.ready("worker-1") == [Serve(new)]


def test_a_crash_loop_backs_off_and_says_so(fleet: Fleet) -> None:
    delays, deaths = [], []
    for _ in range(5):
        fleet.exited("worker-1", reason="exited with code 1")
        delays.append(fleet.said[0].details["delay"])
        deaths.append(fleet.said[0].details.get("deaths"))
        wait = fleet.next_in()
        if wait < BUDGETS.startup:
            assert fleet.tick(wait - 0.01) == []
            assert roles(fleet.tick(0.01)) == ["worker-1"]
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert deaths == [None, None, 3, 4, 5]


def test_a_replacement_that_can_not_start_is_reported_and_backs_off(fleet: Fleet) -> None:
    fleet.exited("worker-1")
    assert fleet.failed("worker-1") == []
    assert fleet.said[0].event == "application failed to start"
    assert fleet.exited("worker-1", reason="exited with code 3") == []
    assert roles(fleet.tick(0.5)) == ["worker-1"]


def test_a_worker_that_could_not_be_forked_is_tried_again(fleet: Fleet) -> None:
    fleet.exited("worker-1")
    assert fleet.exited("worker-1", reason="could not be forked: EAGAIN") == []
    assert roles(fleet.tick(fleet.next_in())) == ["worker-1"]


def test_a_process_that_closes_its_control_channel_and_lives_is_killed_and_replaced(fleet: Fleet) -> None:
    fleet.plan.child_silent(fleet.who("worker-2"), fleet.now)
    assert fleet.next_in() == SILENCE_TIMEOUT
    assert fleet.tick(SILENCE_TIMEOUT) == [
        Kill(fleet.who("worker-2"), DeathReason.CONTROL_LOST, "it closed its control channel")
    ]
    assert roles(fleet.exited("worker-2", reason="was killed: ...")) == ["worker-2"]


def test_a_silent_process_that_drains_keeps_its_budget(fleet: Fleet) -> None:
    fleet.stop()
    fleet.plan.child_silent(fleet.who("worker-2"), fleet.now)
    assert fleet.next_in() == WORKER_DRAIN


def test_a_process_that_survives_sigkill_is_not_waited_for(fleet: Fleet) -> None:
    fleet.stop_now()
    fleet.exited("pool-1")
    fleet.exited("worker-1")
    assert fleet.next_in() == KILL_TIMEOUT
    assert fleet.tick(KILL_TIMEOUT) == [QuitTemplate(1), Exit(ExitCode.FORCED)]
    assert "SIGKILL" in str(fleet.said[0].details["reason"])


# the template


def test_a_dead_template_is_replaced_and_then_forks_what_is_due(fleet: Fleet) -> None:
    assert fleet.template_gone() == []
    assert fleet.exited("worker-1") == [], "nobody can fork"
    assert fleet.next_in() == 0
    assert fleet.tick() == [SpawnTemplate(1, Preload.AUTO)]
    assert fleet.next_in() == BUDGETS.startup
    assert roles(fleet.template_ready()) == ["worker-1"]


def test_a_template_that_can_not_import_any_more_is_tried_again_ever_slower(fleet: Fleet) -> None:
    fleet.template_gone()
    fleet.exited("worker-1")
    waits = []
    for _ in range(3):
        assert fleet.tick(fleet.next_in()) == [SpawnTemplate(1, Preload.AUTO)]
        assert fleet.saw(fleet.plan.template_failed(1, "syntax", "Traceback", fleet.now)) == []
        assert fleet.said[0].level == "error"
        waits.append(fleet.next_in())
    assert waits == [0.5, 1.0, 2.0]
    fleet.tick(2.0)
    assert roles(fleet.template_ready()) == ["worker-1"]


def test_a_replacement_template_that_hangs_is_killed_and_replaced(fleet: Fleet) -> None:
    fleet.template_gone()
    fleet.tick()
    assert kinds(fleet.tick(BUDGETS.startup)) == [KillTemplate]
    assert fleet.template_gone() == []
    assert fleet.tick(fleet.next_in()) == [SpawnTemplate(1, Preload.AUTO)]


def test_the_template_of_a_draining_generation_is_not_replaced(fleet: Fleet) -> None:
    fleet.serve(2)
    assert fleet.template_gone(1) == []
    fleet.end(1)
    assert fleet.next_in() == inf


def test_a_replacement_template_that_comes_too_late_changes_nothing(fleet: Fleet) -> None:
    fleet.template_gone()
    fleet.tick()
    fleet.stop()
    assert fleet.saw(fleet.plan.template_unsafe(1, "threads: x", fleet.now)) == []
    assert fleet.template_ready() == []


# the pool


def test_workers_are_told_of_a_lost_pool_after_the_handoff_budget_and_of_the_next_one(fleet: Fleet) -> None:
    fleet.exited("pool-1")
    assert fleet.next_in() == BUDGETS.handoff
    assert fleet.tick(BUDGETS.handoff) == [PoolAvailable(1, available=False)]
    assert fleet.tick(1.0) == [], "told once"
    assert fleet.ready("pool-1") == [Serve(fleet.who("pool-1")), PoolAvailable(1, available=True)]


def test_a_pool_that_is_replaced_in_time_is_never_told_of(fleet: Fleet) -> None:
    fleet.exited("pool-1")
    assert fleet.ready("pool-1") == [Serve(fleet.who("pool-1"))]
    assert fleet.next_in() == inf


def test_a_pool_that_dies_again_and_again_does_not_put_off_the_news(fleet: Fleet) -> None:
    fleet.exited("pool-1")
    fleet.tick(3.0)
    fleet.exited("pool-1")
    fleet.tick(0.5)
    assert PoolAvailable(1, available=False) in fleet.tick(1.5)


def test_a_worker_that_comes_while_the_pool_is_lost_is_told(fleet: Fleet) -> None:
    fleet.exited("pool-1")
    fleet.tick(BUDGETS.handoff)
    fleet.exited("worker-1")
    assert fleet.ready("worker-1")[-1] == PoolAvailable(1, available=False)


def test_one_of_two_pools_is_enough() -> None:
    fleet = Fleet(pools=2)
    fleet.serve()
    fleet.exited("pool-2")
    assert fleet.tick(BUDGETS.handoff) == []


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


# operations


def test_a_reload_ends_when_the_new_generation_serves(fleet: Fleet) -> None:
    fleet.start("r1")
    fleet.template_ready(2)
    fleet.ready("pool-1", 2)
    fleet.ready("worker-1", 2)
    assert fleet.ended == []
    fleet.ready("worker-2", 2)
    assert fleet.ended == [OperationEnded(operation="r1")]
    assert [generation.operation for generation in fleet.plan.generations.values()] == ["r1", ""]


def test_a_reload_that_fails_tells_why(fleet: Fleet) -> None:
    fleet.start("r1")
    fleet.saw(fleet.plan.template_failed(2, "no module", "Traceback", fleet.now))
    assert fleet.ended == [OperationEnded("no module", "Traceback", operation="r1")]


def test_a_reload_in_a_queue_keeps_its_id(fleet: Fleet) -> None:
    fleet.start("r1")
    fleet.start("r2")
    assert fleet.plan.queued_reload == "r2"
    fleet.saw(fleet.plan.template_failed(2, "no module", "", fleet.now))
    assert [ended.operation for ended in fleet.ended] == ["r1"]
    assert fleet.start("r3") == []
    assert fleet.plan.generations[3].operation == "r2"


@pytest.mark.parametrize("how", ["serves", "fails"])
def test_a_reload_that_waited_is_an_operation_of_its_own_when_its_predecessor(fleet: Fleet, how: str) -> None:
    fleet.start("r1")
    fleet.start("r2")
    fleet.template_ready(2)
    if how == "serves":
        for name in fleet.all_names():
            fleet.ready(name, 2)
    else:
        fleet.failed("worker-1", 2)
    [spawned] = [action for action in fleet.seen if isinstance(action, SpawnTemplate)]
    lines = [action for action in fleet.seen if isinstance(action, Line) and action.event == "reloading"]
    assert [action.operation for action in (spawned, *lines)] == ["r2", "r2"]
    others = fleet.seen[: fleet.seen.index(lines[0])]
    assert {action.operation for action in others} == {"r1"}
    fleet.template_ready(3)
    assert {action.operation for action in fleet.seen} == {"r2"}


def test_what_is_done_for_a_replacement_is_part_of_it(fleet: Fleet) -> None:
    fleet.replace(1, "p1")
    assert [action.operation for action in fleet.seen] == ["p1", "p1"]
    fleet.ready("worker-1")
    assert [(type(action), action.operation) for action in fleet.seen] == [
        (Serve, "p1"),
        (Drain, "p1"),
        (OperationEnded, "p1"),
    ]


def test_what_is_nobodys_is_part_of_no_operation(fleet: Fleet) -> None:
    fleet.exited("worker-1")
    fleet.stop()
    assert {action.operation for action in fleet.seen} == {""}


@pytest.mark.parametrize("how", ["stop", "stop_now"])
def test_reloads_that_a_stop_overtakes_end(fleet: Fleet, how: str) -> None:
    fleet.start("r1")
    fleet.start("r2")
    fleet.saw(fleet.plan.stop(fleet.now) if how == "stop" else fleet.plan.stop_now("QUIT", fleet.now))
    assert {(ended.operation, ended.error) for ended in fleet.ended} == {
        ("r1", "the server stops"),
        ("r2", "the server stops"),
    }
    assert fleet.plan.queued_reload is None


def test_events_of_unknown_or_gone_processes_are_harmless(fleet: Fleet) -> None:
    gone = fleet.who("worker-1")
    fleet.exited("worker-1")
    for identity in (gone, Identity(Role.WORKER, 9, 1), Identity(Role.WORKER, 1, 99)):
        fleet.plan.child_forked(identity)
        fleet.plan.child_silent(identity, fleet.now)
        assert fleet.saw(fleet.plan.child_ready(identity, fleet.now)) == []
        assert fleet.saw(fleet.plan.child_failed(identity, "import", "x", "", fleet.now)) == []
        assert fleet.saw(fleet.plan.child_exited(identity, "exited with code 0", fleet.now)) == []
    assert fleet.template_ready(99) == []
    assert fleet.template_gone(99) == []
    assert fleet.saw(fleet.plan.template_unsafe(99, "x", fleet.now)) == []
    assert fleet.saw(fleet.plan.template_failed(99, "x", "", fleet.now)) == []


def test_a_process_serves_once(fleet: Fleet) -> None:
    assert fleet.ready("worker-1") == []


@pytest.mark.parametrize(("state", "event"), list(itertools.product(Gen, GenEvent)))
def test_every_move_of_a_generation_is_in_the_table_or_raises(state: Gen, event: GenEvent) -> None:
    machine = Machine(GENERATION, state)
    allowed = GENERATION[state]
    if event in allowed:
        assert machine.move(event) is allowed[event]
    else:
        with pytest.raises(IllegalMoveError):
            machine.move(event)
        assert machine.state is state


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


def test_generations_are_counted_on_from_the_old_server() -> None:
    fleet = Fleet()
    fleet.plan.take_over(last_number=41, held=False, workers=None)
    assert fleet.start("upgrade") == [SpawnTemplate(42, Preload.AUTO)]


def test_who_says_why_it_failed_while_it_is_killed_for_being_late_is_heard() -> None:
    fleet = Fleet()
    fleet.start()
    fleet.template_ready()
    late = [action for action in fleet.tick(fleet.plan.budgets.startup) if isinstance(action, Kill)]
    assert late[0].reason is DeathReason.STARTUP_TIMEOUT
    fleet.failed("worker-1")
    assert any("no database" in str(line.details) for line in fleet.said)


# who may change it


@pytest.mark.parametrize("name", [name for name, one in vars(View).items() if isinstance(one, property)])
def test_nobody_else_writes_into_it(fleet: Fleet, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(fleet.plan, name, getattr(fleet.plan, name))


@pytest.mark.parametrize("name", [name for name in vars(Plan) if not name.startswith("_")])
def test_an_event_takes_effect_whether_or_not_its_actions_are_taken(name: str) -> None:
    event = vars(Plan)[name]
    assert not inspect.isgeneratorfunction(event)
    assert inspect.signature(event).return_annotation in (Actions, None, float)
