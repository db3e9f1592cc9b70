"""Event order: what every connection goes through is a way of the table, under load, reloads and a kill.

HSRV_TEST_CONNECTIONS asks for another number of them.
"""

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from hsrv.testing import LiveServer
from tests.conftest import CONNECTIONS
from tests.integration import paths
from tests.integration.conftest import Serve
from tests.integration.crowd import Crowd
from tests.integration.wire import Wire, eventually

NEEDED = {
    ("idle", "RequestStarted"),
    ("idle", "RequestRefused"),
    ("idle", "HandoffSent"),
    ("idle", "ConnectionParked"),
    ("idle", "ConnectionClosed"),
    ("handed over", "RequestStarted"),
    ("running", "ResponseStarted"),
    ("running", "ResponseCompleted"),
    ("running", "RequestFailed"),
    ("running", "RequestRefused"),
    ("running", "StreamOpened"),
    ("responding", "StreamOpened"),
    ("responding", "ResponseCompleted"),
    ("responding", "RequestFailed"),
    ("streamed", "ResponseCompleted"),
    ("streamed", "RequestFailed"),
    ("to be parked", "ConnectionParked"),
    ("parked", "HandoffSent"),
    ("parked", "ConnectionClosed"),
    ("sent", "HandoffAdopted"),
}
"""Steps that must have been taken, or the test has shown little."""


def wait_until_reloaded(server: LiveServer, generation: int) -> None:
    server.wait_for_log(lambda entry: entry["event"] == "reloaded" and entry["generation"] == generation, 60)


def rows_in(folder: Path) -> list[paths.Row]:
    return [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]


@pytest.mark.timeout(300)
def test_every_connection_goes_a_legal_way(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    server = serve(
        "tests.apps.observers:app",
        env={"EVENTS": str(folder), "RECORD": ""},
        collector=["tests.apps.observers:Writer"],
        log_level="debug",
        workers=2,
        park_after=0.2,
        stream_after=0.3,
        stream_grace=1,
        no_stream=["/unannounced"],
        access_log=False,
    )
    crowd = Crowd(server.host, server.port, CONNECTIONS, at_once=250)
    crowd.start()
    killed: set[int] = set()
    generation = 1
    for share, step in ((0.15, "reload"), (0.3, "block"), (0.45, "kill"), (0.6, "reload"), (0.85, "reload")):
        crowd.wait_for(share)
        if step == "reload":
            os.kill(server.pid, signal.SIGHUP)
            generation += 1
            wait_until_reloaded(server, generation)
        elif step == "block":
            with (
                ExitStack() as stack
            ):  # some of them are idle in the worker that it blocks, and not yet parked
                for wire in [stack.enter_context(Wire(server.host, server.port)) for _ in range(8)]:
                    assert wire.get("/").status == 200
                stack.enter_context(Wire(server.host, server.port)).get("/burn?s=1")
            eventually(lambda: told_of(folder, "/burn") == 2, "it is told before its worker may be killed")
        else:
            victim = server.children("worker")[0].pid
            killed.add(victim)
            os.kill(victim, signal.SIGKILL)
    crowd.wait_for(1)
    assert server.stop() == 0
    rows = rows_in(folder)
    problems, steps = paths.check(rows, killed)
    assert problems == []
    assert moved_meanwhile(rows, "/burn"), "by another thread"
    opened = sum(row["type"] == "ConnectionOpened" for row in rows)
    assert CONNECTIONS - 100 < opened <= CONNECTIONS + 9, (
        "but for those that the killed one had just accepted"
    )
    assert {row["source"]["generation"] for row in rows} >= {1, 2, 3}
    assert sum(crowd.broken.values()) < 600, crowd.broken
    assert steps.keys() >= NEEDED, NEEDED - steps.keys()


def told_of(folder: Path, path: str) -> int:
    """Events of this request so far."""
    return sum(file.read_text().count(f'"{path}"') for file in folder.iterdir())


def moved_meanwhile(rows: list[paths.Row], path: str) -> int:
    """Connections that left the process of this request while it ran."""
    of_request = [row for row in rows if row.get("path") == path]
    begun, ended = sorted(of_request, key=lambda row: float(row["clock"]))
    return sum(
        row["type"] == "HandoffSent" and begun["clock"] < row["clock"] < ended["clock"]
        for row in rows
        if row["source"] == begun["source"]
    )


def row(name: str, clock: float, pid: int = 1, role: str = "worker", **fields: str) -> paths.Row:
    return {"type": name, "clock": clock, "connection": "c", "source": {"pid": pid, "role": role}, **fields}


OPENED, STARTED, ENDED = row("ConnectionOpened", 1), row("RequestStarted", 2), row("ResponseCompleted", 3)
SENT, CLOSED = row("HandoffSent", 4, kind="parked"), row("ConnectionClosed", 9)
ADOPTED = row("HandoffAdopted", 5, 2, "pool", kind="parked")


def wrong(*rows: paths.Row, killed: tuple[int, ...] = ()) -> str:
    return "".join(paths.check(rows, set(killed))[0]).partition(": [")[0]


def test_the_check_finds_what_is_wrong() -> None:
    assert wrong(CLOSED, ENDED, STARTED, OPENED) == ""
    assert wrong(OPENED, ENDED, CLOSED) == "c: ResponseCompleted when idle"
    assert wrong(OPENED, STARTED, CLOSED) == "c: ConnectionClosed when running"
    assert wrong(OPENED, STARTED) == "c: ended running, in 1"
    assert wrong(OPENED, STARTED, row("ResponseCompleted", 3, 7), CLOSED).endswith("in 7, but 1 owns it")
    assert (
        wrong(OPENED, SENT, row("HandoffAdopted", 5, 2, kind="adopt"))
        == "c: sent as parked, adopted as adopt"
    )
    assert wrong(OPENED, row("ConnectionParked", 2)) == "c: ConnectionParked  in a worker"


def test_the_check_lets_the_dead_rest() -> None:
    assert wrong(OPENED, STARTED, killed=(1,)) == ""
    assert wrong(OPENED, SENT, killed=(2,)) == ""
    assert wrong(OPENED, ADOPTED) == "c: HandoffAdopted when idle"
    parked, gone = row("ConnectionParked", 6, 2, "pool"), row("ConnectionClosed", 7, 2, "pool")
    assert wrong(OPENED, ADOPTED, parked, gone, killed=(1,)) == ""
    assert wrong(OPENED, ADOPTED, parked, killed=(1,)) == "c: ended parked, in 2"
