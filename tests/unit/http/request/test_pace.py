"""How fast a body must come: (what happens, at which second), then the verdict."""

import pytest

from hsrv.http.request.pace import Pace

RATE, WINDOW = 100, 10.0


@pytest.mark.parametrize(
    ("name", "story", "at", "slow"),
    [
        ("nothing is judged before a window is over", [("run", 0)], 9.9, False),
        ("nothing came", [("run", 0)], 10, True),
        ("just enough came", [("run", 0), (1000, 5)], 10, False),
        ("a byte too little came", [("run", 0), (999, 5)], 10, True),
        ("more seconds need more bytes", [("run", 0), (1000, 5)], 10.1, True),
        ("a clock that stands judges nobody", [("run", 0), ("pause", 1)], 1000, False),
        ("a clock that never ran neither", [], 1000, False),
        ("only the seconds count in which we read", [("run", 0), ("pause", 5), ("run", 100)], 104.9, False),
        ("those of all stretches", [("run", 0), ("pause", 5), ("run", 100)], 105, True),
        ("to be started again changes nothing", [("run", 0), ("run", 9)], 10, True),
        ("nor to be stopped again", [("run", 0), ("pause", 10), ("pause", 11)], 11, True),
    ],
)
def test_a_window(name: str, story: list[tuple[str | int, float]], at: float, slow: bool) -> None:
    pace = Pace(RATE, WINDOW)
    tell(pace, story)
    assert pace.too_slow(at) is slow, name


def test_what_came_fast_in_one_window_does_not_excuse_the_next() -> None:
    pace = Pace(RATE, WINDOW)
    tell(pace, [("run", 0), (1_000_000, 1)])
    assert not pace.too_slow(10)
    pace.received(10)
    assert not pace.too_slow(19.9)
    assert pace.too_slow(20)


def test_a_rate_of_zero_is_none() -> None:
    pace = Pace(0, WINDOW)
    pace.run(0)
    assert not pace.too_slow(1e6)


def tell(pace: Pace, story: list[tuple[str | int, float]]) -> None:
    for what, when in story:
        if what == "run":
            pace.run(when)
        elif what == "pause":
            pace.pause(when)
        else:
            pace.received(int(what))
