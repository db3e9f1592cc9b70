"""`hsrv.leadership()`: of all processes of a server one leads at a time, whatever becomes of it."""

import os
import signal
from pathlib import Path

from tests.apps.raw import recorded
from tests.integration.conftest import Serve, operate, pids, reload
from tests.integration.wire import eventually

APP = "tests.apps.leading:app"


def leaders(record: Path, count: int) -> list[int]:
    """The pids of those that have led, in order, once there are so many."""
    lines = eventually(
        lambda: (
            len([line for line in found if line.startswith("leads")]) == count and found
            if (found := recorded(record))
            else None
        ),
        f"{count} have led",
    )
    return [int(line.split()[1]) for line in lines if line.startswith("leads")]


def test_one_process_leads_and_another_when_it_is_killed(serve: Serve, record: Path) -> None:
    server = serve(APP, workers=2)
    [first] = leaders(record, 1)
    assert first in pids(server, "worker-1"), "whose startup came first"
    os.kill(first, signal.SIGKILL)
    _, second = leaders(record, 2)
    assert second != first
    assert second in pids(server, "(worker|pool)"), "one that waited, or the killed one's successor"
    server.stop()
    assert recorded(record)[:3] == [f"leads {first}", f"leads {second}", f"ends {second}"]


def test_a_reload_and_an_upgrade_have_one_at_a_time(serve: Serve, record: Path) -> None:
    server = serve(APP, workers=1)
    before = pids(server, "worker") | pids(server, "pool")
    [first] = leaders(record, 1)
    reload(server)
    eventually(lambda: not pids(server, "(worker|pool).* g1"), "the old ones have gone")
    [*_, second] = eventually(lambda: after(record, before), "a new one leads")
    every = pids(server, "worker") | pids(server, "pool") | before
    assert operate(server, "upgrade").returncode == 0
    eventually(lambda: after(record, every), "one of the new server leads")
    lines = recorded(record)
    assert lines[0] == f"leads {first}"
    assert f"ends {second}" in lines
    assert all(a == b.replace("ends", "leads") for a, b in zip(lines[::2], lines[1::2], strict=False))


def after(record: Path, before: set[int]) -> list[int]:
    """Those that lead and were not there before."""
    return [int(line.split()[1]) for line in recorded(record) if int(line.split()[1]) not in before]
