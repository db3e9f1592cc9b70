"""`hsrv scale`, `restart-worker` and `log-level`: the processes of a running server change."""

from tests.integration.conftest import Serve, operate, pids
from tests.integration.conftest import status_of as status
from tests.integration.wire import Wire, eventually


def test_scale_up_and_down(serve: Serve) -> None:
    server = serve(workers=1)
    assert operate(server, "scale", "+2").stdout == "3 workers (before: 1)\n"
    assert len(pids(server, "worker")) == 3
    assert operate(server, "scale", "--", "-1").stdout == "2 workers (before: 3)\n"
    assert operate(server, "scale", "4").returncode == 0
    eventually(lambda: len(pids(server, "worker")) == 4, "four workers")
    refused = operate(server, "scale", "0")
    assert (refused.returncode, "one worker is the least" in refused.stderr) == (1, True)
    assert operate(server, "scale", "many").returncode == 2


def test_restart_worker_replaces_the_process_of_a_slot(serve: Serve) -> None:
    server = serve(workers=2)
    before = {child.slot: child.pid for child in server.children("worker")}
    with Wire(server.host, server.port) as kept:
        kept.get("/")
        done = operate(server, "restart-worker", "worker-1")
        assert done.returncode == 0, done.stderr
        eventually(lambda: before[1] not in pids(server, "worker"), "the old one is gone")
        after = {child.slot: child.pid for child in server.children("worker")}
        assert after.keys() == before.keys()
        assert (after[1] != before[1], after[2]) == (True, before[2])
        assert kept.get("/").status == 200, "its connections have moved"
    unknown = operate(server, "restart-worker", "7")
    assert (unknown.returncode, "no worker-7" in unknown.stderr) == (1, True)


def test_log_level_reaches_every_process_and_those_that_come(serve: Serve) -> None:
    server = serve(workers=1)
    assert operate(server, "log-level", "ERROR").returncode == 0
    assert operate(server, "restart-worker", "1").returncode == 0
    eventually(lambda: len(pids(server, "worker")) == 1, "the old one is gone")
    assert [entry for entry in server.logs if entry["event"] in ("draining", "process ended")] == []
    assert operate(server, "log-level", "info").returncode == 0
    assert operate(server, "restart-worker", "1").returncode == 0
    server.wait_for_log(lambda entry: (entry["event"], entry.get("role")) == ("draining", "worker"))
    assert operate(server, "reload").returncode == 0
    server.wait_for_log(lambda entry: (entry["event"], entry.get("generation")) == ("ready", 2))
    assert status(server).log_level == "info"
    assert operate(server, "log-level", "loud").returncode == 2
