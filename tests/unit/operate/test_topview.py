"""What `hsrv top` shows on a screen of some size."""

import re

import msgspec
import pytest
from rich.cells import cell_len

from hsrv.operate.top import keys
from hsrv.operate.topview import ORDERS, Order, ViewSettings, screen, seconds
from hsrv.rpc.methods import PathStreams
from hsrv.rpc.operator import BoardStatus, Occupying, ProcessStatus, ServerStatus, TimelineEvent
from hsrv.status.rates import ProcessRates, Rates, RoleRates
from tests.unit.operate.test_views import PROCESS, REPORT, STATUS, poisoned

GAUGES = {
    "connections": 5,
    "idle": 2,
    "waiting": 0,
    "in_flight": 2,
    "streams": 1,
    "websockets": 1,
    "parked": 0,
}
BUSY = Occupying(method="GET", path="/slow", request_id="q1", client="10.0.0.1:99", seconds=12.34)
BOARD = BoardStatus(
    thread_silence=0.1,
    loop_silence=0.1,
    current=BUSY,
    oldest=None,
    note="",
    gauges=GAUGES,
    requests={"2xx": 9},
)
WORKER = RoleRates(
    requests=1234.5, failed=0.5, p50=0.00021, p99=0.012, queue_wait_p99=None, loop_lag_p99=0.0014, handoffs=3.0,
    shed=0.0, bytes_in=10.0, bytes_out=4096.0,
)  # fmt: skip


def named(number: int, **changes: object) -> ProcessStatus:
    return msgspec.structs.replace(
        PROCESS, name=f"worker-{number}", slot=number, pid=4000 + number, board=BOARD, **changes
    )


def server(*processes: ProcessStatus, **changes: object) -> ServerStatus:
    generation = msgspec.structs.replace(STATUS.generations[0], processes=list(processes))
    return msgspec.structs.replace(STATUS, generations=[generation], **changes)


def rated(**cpu: float) -> Rates:
    """By the name of the worker: w1=0.5."""
    return Rates(
        seconds=1.0,
        roles={"worker": WORKER},
        processes={4000 + int(name[1:]): ProcessRates(requests=2.5, cpu=one) for name, one in cpu.items()},
    )


def shown(
    status: ServerStatus,
    rates: Rates | None = None,
    look: ViewSettings | None = None,
    width: int = 120,
    height: int = 40,
) -> list[str]:
    lines = [line.plain.rstrip() for line in screen(status, rates, look or ViewSettings(), width, height)]
    assert len(lines) == height
    assert max(cell_len(line) for line in lines) <= width
    return lines


def order_of(lines: list[str]) -> list[str]:
    return [found[0] for line in lines if (found := re.match(r"worker-\d+", line))]


def test_a_wide_screen_shows_everything() -> None:
    lines = shown(server(named(1)), rated(w1=0.424))
    assert lines[0] == "hsrv 1.2  main:app  pid 4710  up 1 d 1 h"
    assert lines[1] == "ready  generation 2 serving"
    assert lines[2:4] == ["http://127.0.0.1:8000  3 of 2048 waiting to be accepted", "unix:/run/app.sock"]
    assert lines[5].split() == [
        "ROLE",
        "REQ/S",
        "P50",
        "P99",
        "FAIL/S",
        "SHED/S",
        "WAIT99",
        "LAG99",
        "HANDOFF/S",
        "OUT/S",
    ]
    assert lines[6].split() == [
        "worker",
        "1234",
        "210",
        "µs",
        "12",
        "ms",
        "0.5",
        "0",
        "-",
        "1.4",
        "ms",
        "3",
        "4",
        "K",
    ]
    [row] = [line for line in lines if line.startswith("worker-1")]
    assert row.split("  ")[-1] == "GET /slow for 12.3 s"
    assert row.removesuffix("GET /slow for 12.3 s").split()[-6:] == ["3", "2", "5", "42%", "50", "M"]
    assert [line.split() for line in lines if line.endswith("/chat/*")] == [
        ["2", "1", "h", "2", "min", "/chat/*"]
    ]
    assert lines[-1].startswith("q quit")


def test_a_narrow_screen_has_what_matters_and_the_rest_beneath() -> None:
    lines = shown(server(named(1)), rated(w1=0.424), width=60, height=30)
    [at] = [n for n, line in enumerate(lines) if line.startswith("worker-1")]
    assert lines[at - 1].split() == ["PROCESS", "PID", "STATE", "REQ/S", "RUN", "CPU", "MEM"]
    assert lines[at + 1] == "  GET /slow for 12.3 s"


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 100, 132, 250])
@pytest.mark.parametrize("height", [1, 5, 12, 24, 60])
def test_every_size_is_filled_and_never_exceeded(width: int, height: int) -> None:
    events = [
        TimelineEvent(number=n, at=1.0, level="info", event="serving " * 20, details={}) for n in range(200)
    ]
    status = server(*(named(n, deadline=3.0) for n in range(1, 40)), events=events, deaths={"worker hung": 2})
    shown(status, rated(w1=0.1), width=width, height=height)


def test_processes_that_do_not_fit_are_counted_and_events_keep_their_place() -> None:
    events = [TimelineEvent(number=n, at=1.0, level="info", event=f"event {n}", details={}) for n in range(9)]
    lines = shown(server(*(named(n) for n in range(1, 31)), events=events), rated(), height=24)
    listed = order_of(lines)
    assert f"... and {30 - len(listed)} more" in lines
    assert "event 8" in lines[-2]
    assert "event 6" in "\n".join(lines)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.name)
def test_a_key_sorts_and_another_turns_it_round(order: Order) -> None:
    small, large = named(1), named(2, age=1e6, rss=2**40)
    more = msgspec.structs.replace(BOARD, gauges=dict.fromkeys(GAUGES, 99))
    large = msgspec.structs.replace(large, board=more)
    busy = Rates(
        seconds=1.0,
        roles={},
        processes={
            4001: ProcessRates(requests=1.0, cpu=0.1),
            4002: ProcessRates(requests=9.0, cpu=0.9),
        },
    )
    key = order.key
    first = ["worker-1", "worker-2"] if key == "n" else ["worker-2", "worker-1"]
    assert order_of(shown(server(small, large), busy, ViewSettings().press(key))) == first
    assert order_of(shown(server(small, large), busy, ViewSettings().press(key).press("R"))) == first[::-1]
    assert order_of(shown(server(small, large), None, ViewSettings().press(key)))


def test_an_unknown_key_changes_nothing() -> None:
    look = ViewSettings().press("c")
    assert look.press("?") is look
    assert look.press("\f") is look


@pytest.mark.parametrize(
    ("data", "pressed"), [(b"q", "q"), (b"cR", "cR"), (b"\x1b[A", ""), (b"", "q"), (b"\xff\xfe", "")]
)
def test_keys_are_what_was_typed_and_the_end_of_input_ends_it(data: bytes, pressed: str) -> None:
    assert keys(data) == pressed


def test_what_clients_choose_does_not_speak_to_the_terminal() -> None:
    evil = "/\x1b]0;owned\x07\x9b2J\u202e"
    board = msgspec.structs.replace(BOARD, current=msgspec.structs.replace(BUSY, path=evil))
    report = msgspec.structs.replace(REPORT, streams={evil: PathStreams(count=1, oldest=1.0)})
    event = TimelineEvent(number=1, at=1.0, level="info", event=evil, details={"path": evil})
    process = msgspec.structs.replace(named(1), board=board, report=report)
    status = server(process, events=[event], app=evil, deaths={evil: 1})
    for one, width in ((status, 60), (status, 120), (poisoned(status), 200)):
        text = "\n".join(shown(one, rated(w1=0.1), width=width))
        assert r"/\x1b]0;owned\x07" in text
        assert not [char for char in text if char != "\n" and not char.isprintable()]


def test_a_silent_server_is_said_to_be() -> None:
    assert any(
        "no answer from the server for 3 s" in line
        for line in shown(server(), None, ViewSettings(silence=3.2))
    )
    assert not any("no answer" in line for line in shown(server(), None, ViewSettings(silence=0.3)))


def test_a_process_that_stands_still_says_in_what() -> None:
    board = msgspec.structs.replace(BOARD, loop_silence=7.0, note="time.sleep in app.py:7\nmore")
    text = "\n".join(shown(server(msgspec.structs.replace(named(1), board=board)), rated(w1=1.0), width=200))
    assert "event loop blocked for 7.0 s; GET /slow for 12.3 s; time.sleep in app.py:7" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.000085, "85 µs"),
        (0.0012, "1.2 ms"),
        (0.24, "240 ms"),
        (3.14, "3.1 s"),
        (812.0, "812 s"),
    ],
)
def test_times_to_answer(value: float | None, text: str) -> None:
    assert seconds(value) == text
