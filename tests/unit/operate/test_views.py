"""What people read of a server's answers."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hsrv import starting
from hsrv.common.errors import AppLoadError, OperatorError
from hsrv.operate import commands, views
from hsrv.rpc.methods import ChildReport, PathStreams, Running
from hsrv.rpc.operator import (
    GenerationStatus,
    ListenerStatus,
    PrestopResult,
    ProcessStacks,
    ProcessStatus,
    ServerStatus,
)

RUNNING = Running(
    kind="request",
    state="running",
    method="GET",
    path="/slow",
    client="10.0.0.1:99",
    request_id="q1",
    seconds=12.34,
)
REPORT = ChildReport(
    running=3,
    oldest=[RUNNING],
    streams={"/chat/*": PathStreams(count=2, oldest=3725.0)},
    connections=5,
    idle=2,
    waiting=1,
)
PROCESS = ProcessStatus(
    name="worker-1",
    role="worker",
    slot=1,
    generation=2,
    pid=4711,
    state="serving",
    leader=True,
    age=59.96,
    rss=50 * 1024**2,
    pss=None,
    cpu_seconds=1.5,
    cpu_percent=12.4,
    answers=True,
    report=REPORT,
    deadline=None,
)
STATUS = ServerStatus(
    status_version=1,
    hsrv="1.2",
    python="3.13.0",
    pid=4710,
    app="main:app",
    started_at=0.0,
    uptime=90061.0,
    phase="running",
    ready=True,
    not_ready_because="",
    workers=1,
    pools=1,
    log_level="info",
    listeners=[
        ListenerStatus(url="http://127.0.0.1:8000", waiting=3, backlog=2048),
        ListenerStatus(url="unix:/run/app.sock", waiting=None, backlog=None),
    ],
    generations=[
        GenerationStatus(number=2, state="serving", reload_id="", template_pid=1, processes=[PROCESS]),
    ],
)


def with_process(**changes: object) -> ServerStatus:
    process = msgspec.structs.replace(PROCESS, **changes)
    generation = msgspec.structs.replace(STATUS.generations[0], processes=[process])
    return msgspec.structs.replace(STATUS, generations=[generation])


DOING = "GET /slow for 12.3 s, 2 more; 1 waiting; 5 connections (2 idle)"


def test_a_status_is_a_page() -> None:
    assert views.status_text(STATUS).splitlines() == [
        "hsrv 1.2  main:app  pid 4710  up 1 d 1 h  ready",
        "  http://127.0.0.1:8000  (3 of 2048 waiting)",
        "  unix:/run/app.sock",
        "",
        "generation 2  serving",
        "  PROCESS    PID  STATE       AGE   RSS  PSS   CPU  DOING",
        f"  worker-1  4711  serving  60.0 s  50 M    -  12 %  {DOING}",
        "",
        "streams",
        "  PATH                    COUNT     OLDEST",
        "  /chat/* in worker-1 g2      2  1 h 2 min",
    ]


def test_what_does_not_answer_is_said_to() -> None:
    assert "no answer" in views.status_text(with_process(answers=False, report=None))


def test_what_starts_is_not_expected_to_answer() -> None:
    text = views.status_text(with_process(state="starting", answers=True, report=None, pid=0, rss=None))
    assert "no answer" not in text
    assert "-" in text


def test_why_is_empty_when_nothing_drains() -> None:
    assert views.why_text(STATUS) == "nothing drains\n"


def test_why_names_path_age_peer_and_process() -> None:
    assert views.why_text(with_process(state="draining", deadline=20.5)).splitlines() == [
        "worker-1 of generation 2 (pid 4711) draining, killed in 20.5 s, waits for 3:",
        "  request GET /slow for 12.3 s from 10.0.0.1:99 (running) request_id=q1",
        "  ... and 2 more",
    ]


def test_why_tells_of_one_that_can_not_tell() -> None:
    assert "no answer" in views.why_text(with_process(state="draining", report=None))


def test_why_tells_of_a_drain_delay() -> None:
    assert "--drain-delay" in views.why_text(msgspec.structs.replace(STATUS, phase="delaying"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert views.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1 K"), (3 * 1024**3, "3 G")]
)
def test_sizes(count: int | None, text: str) -> None:
    assert views.size(count) == text


def test_stacks_of_each_process_under_its_name() -> None:
    fine = ProcessStacks(name="pool-1", generation=1, pid=7, threads="Thread 1\n", tasks="Task a\n", note="")
    stuck = ProcessStacks(
        name="worker-1", generation=1, pid=8, threads="Thread 2\n", tasks="", note="no turn"
    )
    assert views.stacks_text([fine, stuck]) == (
        "=== pool-1 of generation 1 (pid 7)\nThread 1\nTask a\n\n"
        "=== worker-1 of generation 1 (pid 8)\n(no turn)\nThread 2\n"
    )


def test_prestop_says_whether_it_is_calm_and_what_still_runs() -> None:
    text = views.prestop_text(PrestopResult(seconds=5.0, quiet=False, running=[RUNNING]))
    assert "still arrive" in text
    assert "GET /slow" in text
    assert "no new connections" in views.prestop_text(PrestopResult(seconds=5.0, quiet=True, running=[]))


EVIL = "/\x1b]0;owned\x07\x9b2J\r\n\u2028\u202e\x7f\udce9"
"""Sets the title, clears the screen, begins lines, turns what is read around."""


def poisoned(value: Any) -> Any:
    """The same with EVIL in place of every text, wherever it comes from."""
    if isinstance(value, msgspec.Struct):
        fields = {name: poisoned(getattr(value, name)) for name in value.__struct_fields__ if name != "state"}
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, dict):
        return {poisoned(key): poisoned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    return EVIL if isinstance(value, str) and value else value


STACKS = ProcessStacks(name="worker-1", generation=2, pid=7, threads="Thread", tasks="Task x", note="stuck")
PRINTED: dict[str, tuple[Callable[[Any], str], Any]] = {
    "status": (views.status_text, with_process(state="serving")),
    "status --why": (views.why_text, with_process(state="draining")),
    "prestop": (views.prestop_text, PrestopResult(seconds=2.0, quiet=True, running=[RUNNING])),
    "running": (views.running_text, RUNNING),
    "stacks": (lambda one: views.stacks_text([one]), STACKS),
}


@pytest.mark.parametrize("name", PRINTED)
def test_no_text_of_a_process_acts_on_a_terminal(name: str) -> None:
    text_of, answer = PRINTED[name]
    text = text_of(poisoned(answer))
    assert "owned" in text
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)
    if name != "stacks":  # which are lines
        assert text.count("\n") == text_of(answer).count("\n"), "a line is ours"


def test_neither_does_a_failure_or_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    starting.report(OperatorError(EVIL))
    starting.report(AppLoadError(EVIL, traceback=f"Traceback\n{EVIL}"))
    commands.say(EVIL)
    commands.show(f"one\n{EVIL}\n")
    printed = capsys.readouterr()
    assert printed.err.count("owned") == 4
    assert printed.out.startswith("one\n/\\x1b]0;owned")
    assert all(line.isprintable() for line in [*printed.err.split("\n"), *printed.out.split("\n")])
    assert sum(line.startswith("hsrv: /") for line in printed.err.split("\n")) == 3
