"""Deaths of a generation that serves: who is replaced, and when."""

from hsrv.common.errors import ExitCode
from hsrv.common.terms import DeathReason
from hsrv.supervisor.plan.actions import (
    Exit,
    Kill,
    QuitTemplate,
    Serve,
)
from hsrv.supervisor.plan.ending import KILL_TIMEOUT
from hsrv.supervisor.plan.members import SILENCE_TIMEOUT
from tests.unit.supervisor.plan.fleets import (
    BUDGETS,
    WORKER_DRAIN,
    Fleet,
    roles,
)


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
