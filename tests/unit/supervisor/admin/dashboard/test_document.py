"""What the dashboard is sent, from a status."""

import msgspec

from hsrv.rpc.methods import ChildReport, PathStreams
from hsrv.rpc.operator import ServerStatus
from hsrv.status.rates import rates
from hsrv.supervisor.admin.dashboard.document import PATHS_LIMIT, document, point
from tests.unit.status.test_rates import process, status

GAUGES = {
    "connections": 5,
    "idle": 2,
    "waiting": 1,
    "in_flight": 3,
    "streams": 1,
    "websockets": 1,
    "parked": 4,
}


def busy(uptime: float, cpu: float) -> ServerStatus:
    one, two, silent = process(1, cpu=cpu), process(2, cpu=cpu), process(3, cpu=None)
    assert one.board is not None
    board = msgspec.structs.replace(one.board, gauges=GAUGES, note="in f\nmore")
    one = msgspec.structs.replace(one, board=board, rss=100, pss=60)
    two = msgspec.structs.replace(two, board=board, rss=100)
    return status(uptime, one, two, msgspec.structs.replace(silent, board=None, rss=7))


def test_a_role_is_the_sum_of_its_processes() -> None:
    before, after = busy(1.0, 1.0), busy(2.0, 1.25)
    role = document(after, rates(before, after, since=before))["roles"]["worker"]
    assert (role.running, role.streams, role.cpu, role.memory) == (6, 4, 0.5, 167)
    assert role.gauges == {"connections": 10, "idle": 4, "waiting": 2, "parked": 8, "websockets": 2}


def test_a_process_that_does_not_tell_is_shown_as_unknown() -> None:
    shown = document(busy(1.0, 1.0), None)["processes"]
    assert [one["pid"] for one in shown] == [1, 2, 3]
    assert shown[2]["board"] is shown[2]["running"] is shown[2]["cpu"] is None
    assert shown[0]["board"]["note"] == "in f"


def test_paths_are_bounded_the_most_first() -> None:
    report = ChildReport(
        running=0, oldest=[], connections=0, idle=0, waiting=0,
        streams={f"/{n}": PathStreams(count=n, oldest=1.0) for n in range(PATHS_LIMIT * 2)},
    )  # fmt: skip
    one = msgspec.structs.replace(process(1), report=report)
    found = document(status(1.0, one), None)["streams"]
    assert len(found) == PATHS_LIMIT
    assert found[0] == {"path": f"/{PATHS_LIMIT * 2 - 1}", "count": PATHS_LIMIT * 2 - 1, "oldest": 1.0}


def test_of_a_look_only_the_curves_are_kept() -> None:
    kept = point(document(busy(1.0, 1.0), None))
    assert kept == {
        "at": 1001.0,
        "roles": {
            "worker": {
                "requests": None, "p50": None, "p99": None, "running": 6, "streams": 4, "cpu": 0.0, "memory": 167,
            }
        },
    }  # fmt: skip
