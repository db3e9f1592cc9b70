"""Workers that are replaced after so many requests, under load."""

import threading
from pathlib import Path

from tests.apps.raw import recorded
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, eventually


def test_workers_are_recycled_and_no_request_or_connection_is_lost(serve: Serve, record: Path) -> None:
    server = serve(workers=2, worker_max_requests=50, worker_max_requests_jitter=20)
    first = {child.pid for child in server.children("worker")}
    wrong: list[str] = []
    asked: list[str] = []
    stop = threading.Event()

    def client(number: int) -> None:
        try:
            with Wire(server.host, server.port) as wire:
                turn = 0
                while not stop.is_set():
                    turn += 1
                    asked.append(f"count {number}-{turn}")
                    if (status := wire.get(f"/count?key={number}-{turn}").status) != 200:
                        wrong.append(str(status))
        except (OSError, EOFError) as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        eventually(
            lambda: not first & {child.pid for child in server.children("worker")}, "all have been replaced"
        )
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert sorted(recorded_calls(record)) == sorted(asked)
    why = server.wait_for_log(lambda entry: entry["event"] == "recycling")["why"]
    assert "--worker-max-requests" in why
    assert [entry for entry in server.logs if entry["event"] in ("process died", "killing")] == []


def recorded_calls(record: Path) -> list[str]:
    return [line for line in recorded(record) if line.startswith("count")]
