"""A generation starts: its template, its processes, their order, and each way in which it may fail."""

from math import inf

import pytest

from hsrv.common.errors import ExitCode
from hsrv.common.terms import DeathReason, Preload
from hsrv.supervisor.plan.actions import (
    Announce,
    BeginStartup,
    Dismiss,
    Exit,
    ForkChild,
    Kill,
    KillTemplate,
    QuitTemplate,
    Serve,
    SpawnTemplate,
)
from hsrv.supervisor.plan.state import ServerPhase
from tests.unit.supervisor.plan.fleets import (
    BUDGETS,
    DISMISSAL,
    Fleet,
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
