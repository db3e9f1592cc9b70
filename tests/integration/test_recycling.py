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
    versions: set[int] = set()

    def client(number: int) -> None:
        try:
            with Wire(server.host, server.port) as wire:
                for turn in range(100):
                    answer = wire.get(f"/count?key={number}-{turn}")
                    versions.add(answer.json["pid"])
                    if answer.status != 200:
                        wrong.append(str(answer.status))
        except (OSError, EOFError) as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    calls = [line for line in recorded(record) if line.startswith("count")]
    assert (len(calls), len(set(calls))) == (800, 800)
    eventually(
        lambda: not first & {child.pid for child in server.children("worker")}, "all have been replaced"
    )
    why = server.wait_for_log(lambda entry: entry["event"] == "recycling")["why"]
    assert "--worker-max-requests" in why
    assert len(versions) > 2
    assert [entry for entry in server.logs if entry["event"] in ("process died", "killing")] == []
