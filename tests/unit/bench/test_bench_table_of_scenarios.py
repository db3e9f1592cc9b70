"""The tables of the benchmark fit together. Nothing is started."""

import shlex

from bench import scenarios, servers, wrk
from bench.fanout import gaps
from bench.report import drawing, markdown
from bench.run import taking_part


def test_names_are_unique() -> None:
    assert len(scenarios.BY_NAME) == len(scenarios.SCENARIOS)
    assert len(servers.BY_NAME) == len(servers.SERVERS)


def test_hsrv_takes_part_everywhere_and_never_alone() -> None:
    for scenario in scenarios.SCENARIOS:
        names = [server.name for server in taking_part(scenario, servers.SERVERS)]
        assert names[0] == "hsrv", scenario.name
        assert len(names) > 1, scenario.name


def test_every_application_is_there() -> None:
    for scenario in scenarios.SCENARIOS:
        assert (servers.APPS / f"{scenario.app.partition(':')[0]}.py").is_file()


def test_every_command_line_can_be_filled_in() -> None:
    for server in servers.SERVERS:
        values = {"app": "a:b", "workers": 1, "port": 1, "bind": "c", "folder": "d"}
        assert shlex.split(server.command.format(**values))
        for options in server.log.values():
            shlex.split(options)


def test_the_environment_configures_no_server() -> None:
    for name in (
        "HSRV_WORKERS",
        "UVICORN_PORT",
        "GUNICORN_CMD_ARGS",
        "GRANIAN_LOOP",
        "WEB_CONCURRENCY",
        "PORT",
    ):
        assert servers.OWN_SETTINGS.match(name)
    for name in ("PATH", "PORTAGE", "HOME", "PYTHONPATH"):
        assert not servers.OWN_SETTINGS.match(name)


def test_wrk_is_asked_for_whole_seconds_and_told_what_to_send() -> None:
    line = wrk.command(wrk.Load("/echo", 8, "POST", 32, keep_alive=False), 80, 1.6)
    assert line[1:4] == ["-t1", "-c8", "-d2s"]
    assert line[-6:] == ["-H", "Connection: close", "http://127.0.0.1:80/echo", "--", "POST", "32"]
    assert wrk.Load(body=32).sent() == b"0123456789abcdef" * 2
    assert wrk.Load().sent() is None


def test_gaps_are_what_is_missing_in_between() -> None:
    assert gaps([1, 2, 3, 4, 5], 2, 4) == 0
    assert gaps([1, 3, 5], 1, 5) == 2
    assert gaps([], 1, 5) == 5


def test_a_report_can_be_made_of_a_whole_run() -> None:
    rows = {"hsrv": {"samples": [{}], "limit": False}, "granian": {"samples": [], "failed": "gone"}}
    document = {
        "machine": {"CPU": "one"},
        "versions": {"hsrv": "1"},
        "run": {"rounds": 1},
        "scenarios": dict.fromkeys(scenarios.BY_NAME, rows),
    }
    text = markdown(document)
    assert all(f"## {name}\n" in text for name in scenarios.BY_NAME)
    assert drawing(document).count("no result") == 2 * len(scenarios.SCENARIOS)
