"""What all views of a status have in common."""

import msgspec
import pytest

from hsrv.rpc.methods import ChildReport, PathStreams, Running
from hsrv.rpc.operator import Occupying, ServerStatus
from hsrv.status.model import ProcessView, oldest, process_views, reports, streams_by_path, unfinished
from hsrv.status.rates import ProcessRates, Rates
from tests.unit.status.test_rates import process, status

RUNNING = Running(
    kind="request", state="running", method="GET", path="/a", client="", request_id="", seconds=1.0
)
BUSY = Occupying(method="GET", path="/a", request_id="", client="", seconds=1.0)


def reporting(pid: int, **streams: PathStreams) -> ChildReport:
    return ChildReport(running=pid, oldest=[RUNNING] * pid, streams=streams)


def two_reports() -> ServerStatus:
    one = msgspec.structs.replace(process(1), report=reporting(1, a=PathStreams(count=2, oldest=5.0)))
    two = msgspec.structs.replace(
        process(2),
        report=reporting(2, a=PathStreams(count=1, oldest=9.0), b=PathStreams(count=3, oldest=1.0)),
    )
    return status(1.0, one, two, process(3))


def test_a_process_without_a_scoreboard_is_unknown() -> None:
    view = ProcessView(msgspec.structs.replace(process(1), board=None))
    assert (view.running, view.streams, view.gauge("idle"), view.cpu, view.requests, view.memory) == (
        None,
    ) * 6


def test_the_call_that_runs_counts_beside_those_that_wait() -> None:
    board = process(1).board
    assert board is not None
    gauges = {"in_flight": 3, "streams": 2, "websockets": 4, "idle": 7}
    busy = msgspec.structs.replace(board, gauges=gauges, current=BUSY)
    view = ProcessView(msgspec.structs.replace(process(1), board=busy))
    assert (view.running, view.streams, view.gauge("idle"), view.gauge("parked")) == (4, 6, 7, 0)


@pytest.mark.parametrize(("pss", "memory"), [(60, 60), (0, 0), (None, 100)])
def test_memory_is_the_proportional_one_where_it_is_known(pss: int | None, memory: int) -> None:
    assert ProcessView(msgspec.structs.replace(process(1), rss=100, pss=pss)).memory == memory


@pytest.mark.parametrize(
    ("state", "starting", "ending"),
    [
        ("forking", True, False),
        ("starting", True, False),
        ("ready", True, False),
        ("serving", False, False),
        ("draining", False, True),
        ("dismissed", False, True),
        ("killed", False, True),
    ],
)
def test_a_process_starts_serves_or_ends(state: str, starting: bool, ending: bool) -> None:
    view = ProcessView(msgspec.structs.replace(process(1), state=state))
    assert (view.is_starting, view.is_ending) == (starting, ending)


def test_each_process_has_its_own_rates() -> None:
    rates = Rates(seconds=1.0, roles={}, processes={2: ProcessRates(requests=8.0, cpu=0.5)})
    views = process_views(status(1.0, process(1), process(2)), rates)
    assert [(view.requests, view.cpu) for view in views] == [(None, None), (8.0, 0.5)]


def test_what_is_unfinished_is_the_sum_of_those_that_answered() -> None:
    found = two_reports()
    assert [one.pid for one, _ in reports(found)] == [1, 2]
    assert unfinished(found) == 3
    assert oldest(found) == [RUNNING] * 3


def test_streams_are_added_up_by_path_the_most_frequent_first() -> None:
    assert streams_by_path(two_reports()) == [("a", 3, 9.0), ("b", 3, 1.0)]
