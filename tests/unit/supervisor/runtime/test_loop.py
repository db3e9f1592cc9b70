"""The loop: what is performed when, and as part of which operation."""

from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs

from hsrv.common.errors import ExitCode
from hsrv.supervisor.plan.actions import Action, Exit, LogLine, Report, StopListening
from hsrv.supervisor.runtime.inoperation import in_operation
from hsrv.supervisor.runtime.loop import Hands, Loop
from tests.unit.supervisor.plan.fleets import Fleet


class Noting(Hands):
    """Notes what it is to do, and as part of what; the first action leads to another event."""

    def __init__(self) -> None:
        self.done: list[tuple[Action, object]] = []
        self.loop = Loop(Fleet().plan, self._tell)
        self.loop.hands = self
        self.leads_to: tuple[Action, ...] = ()
        self.raises: Exception | None = None

    def _tell(self, report: Report) -> None:
        self.done.append((report, get_contextvars().get("reload_id")))

    def perform(self, action: Action) -> None:
        error, self.raises = self.raises, None
        if error is not None:
            raise error
        self.done.append((action, get_contextvars().get("reload_id")))
        more, self.leads_to = self.leads_to, ()
        self.loop.perform(more)


FIRST, SECOND = StopListening(operation="r1"), LogLine("info", "second", operation="r1")


def test_what_an_action_leads_to_comes_after_what_was_decided_before_and_as_its_own_operation() -> None:
    hands, own, nobodys = Noting(), LogLine("info", "more", operation="r2"), StopListening()
    hands.leads_to = (own, nobodys)
    hands.loop.perform((FIRST, SECOND))
    assert hands.done == [(FIRST, "r1"), (SECOND, "r1"), (own, "r2"), (nobodys, None)]


def test_nothing_is_part_of_what_happens_to_be_under_way() -> None:
    hands, nobodys = Noting(), StopListening()
    with bound_contextvars(reload_id="ambient"):
        hands.loop.perform((nobodys,))
        assert get_contextvars()["reload_id"] == "ambient"
    assert hands.done == [(nobodys, None)]


def test_operations_may_nest() -> None:
    with in_operation("outer"):
        with in_operation("inner"):
            assert get_contextvars()["reload_id"] == "inner"
        assert get_contextvars()["reload_id"] == "outer"
    assert "reload_id" not in get_contextvars()


def test_a_defect_in_one_action_keeps_no_other_from_being_performed() -> None:
    hands = Noting()
    hands.raises = OSError("a defect")
    with capture_logs() as lines:
        hands.loop.perform((FIRST, SECOND))
    assert hands.done == [(SECOND, "r1")]
    assert [(line["event"], line["action"]) for line in lines] == [("action failed", "StopListening")]


def test_whoever_waits_for_a_change_is_woken_also_by_an_event_without_actions() -> None:
    hands, changes = Noting(), list[str]()
    hands.loop.on_change = lambda: changes.append("changed")
    hands.loop.perform(())
    assert hands.loop.changed.is_set()
    assert changes == ["changed"]


def test_the_end_is_an_action() -> None:
    hands = Noting()
    hands.loop.perform((Exit(ExitCode.FORCED),))
    assert hands.loop.exit is ExitCode.FORCED
    assert hands.done == []
