"""What was imported before the fork is shared only where nothing in it can be confused by that."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hsrv.testing import LiveServer
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, eventually

APP = "tests.apps.preloaded:app"


def answers(server: LiveServer, numbers: range) -> list[int]:
    """What one client is told, a connection for each."""
    found = []
    for number in numbers:
        with Wire(server.host, server.port) as wire:
            found.append(wire.get(f"/{number}").json)
    return found


def first_answers(server: LiveServer, path: str, workers: int = 2) -> list[object]:
    """Of each worker."""
    answers: dict[int, object] = {}

    def all_have_answered() -> bool:
        with Wire(server.host, server.port) as wire:
            pid, answer = wire.get(path).json
        answers.setdefault(pid, answer)
        return len(answers) == workers

    eventually(all_have_answered, "each worker has answered")
    return list(answers.values())


def test_a_process_pool_of_the_module_answers_nobody_elses_request(serve: Serve) -> None:
    server = serve(APP, workers=2)
    given_up = server.wait_for_log(lambda entry: entry["event"] == "preload given up")
    for named in ("ProcessPoolExecutor tests.apps.preloaded.POOL", "Random tests.apps.preloaded.RNG"):
        assert named in given_up["why"]
    asked = [range(100 * client, 100 * client + 5) for client in range(8)]
    with ThreadPoolExecutor(len(asked)) as clients:
        told = list(clients.map(lambda numbers: answers(server, numbers), asked))
    assert told == [list(numbers) for numbers in asked]
    assert len(set(first_answers(server, "/draw"))) == 2


def test_preloaded_a_library_draws_other_numbers_in_each_worker_and_a_file_is_read_by_each(
    serve: Serve, tmp_path: Path
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "dice.py").write_text("import random\nDIE = random.Random()\n")
    server = serve(APP, workers=2, env={"LIBRARY": "1", "PYTHONPATH": str(folder)})
    assert server.wait_for_log(lambda entry: entry["event"] == "imported")["preload"] == "app"
    assert len(set(first_answers(server, "/draw"))) == 2
    assert first_answers(server, "/read") == [Path("tests/apps/preloaded.py").read_text()[3:23]] * 2
