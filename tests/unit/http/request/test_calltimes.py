"""What the next call of a path is expected to take."""

from itertools import count

from hsrv.http.request.calltimes import AT_FIRST, PATHS, UNKNOWN, CallTimes

SHORT = 0.0001


def calls_until_short(times: CallTimes, path: bytes) -> int:
    for number in count():
        if times.expected(path) < 2 * SHORT:
            return number
        times.took(path, SHORT)
    raise AssertionError


def test_a_path_without_a_call_is_not_known_to_be_short() -> None:
    assert CallTimes().expected(b"/a") == UNKNOWN


def test_some_short_calls_make_a_path_short() -> None:
    times = CallTimes()
    assert 5 < calls_until_short(times, b"/a") < 30
    assert times.expected(b"/b") == UNKNOWN


def test_one_long_call_is_expected_again_for_a_while() -> None:
    times = CallTimes()
    calls_until_short(times, b"/a")
    times.took(b"/a", 0.2)
    assert times.expected(b"/a") == 0.2
    assert calls_until_short(times, b"/a") > 40


def test_the_first_call_alone_proves_nothing() -> None:
    times = CallTimes()
    times.took(b"/a", SHORT)
    assert times.expected(b"/a") > 0.8 * AT_FIRST


def test_paths_that_differ_in_a_number_are_the_same() -> None:
    times = CallTimes()
    for number in range(40):
        times.took(b"/items/%d/parts/x%dy" % (number, number), SHORT)
    assert times.expected(b"/items/99/parts/7") < 2 * SHORT
    assert times.expected(b"/items/99") == UNKNOWN


def test_paths_that_are_made_up_fill_no_memory() -> None:
    times = CallTimes()
    for number in range(3 * PATHS):
        times.took(b"/" + b"a" * number, SHORT)
        assert len(times._expected) <= PATHS
