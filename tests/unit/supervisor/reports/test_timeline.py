"""What is kept of what has happened."""

import time

from hsrv.supervisor.reports.timeline import KEPT, Timeline


def test_events_come_in_the_order_in_which_they_happened() -> None:
    timeline = Timeline()
    before = time.time()
    for name in ("one", "two", "three"):
        timeline.note(name)
    after = time.time()
    events = list(timeline)
    assert [(event.number, event.event, event.level) for event in events] == [
        (1, "one", "info"),
        (2, "two", "info"),
        (3, "three", "info"),
    ]
    times = [event.at for event in events]
    assert times == sorted(times)
    assert before - 0.001 <= times[0] <= times[-1] <= after + 0.001


def test_the_oldest_make_room_and_numbers_go_on() -> None:
    timeline = Timeline()
    for n in range(KEPT + 3):
        timeline.note(f"event {n}")
    assert [event.number for event in timeline] == list(range(4, KEPT + 4))
    assert [event.event for event in timeline] == [f"event {n}" for n in range(3, KEPT + 3)]


def test_who_reads_takes_nothing_away() -> None:
    timeline = Timeline()
    timeline.note("one")
    assert list(timeline) == list(timeline) != []


def test_details_are_texts_and_leave_the_traceback_to_the_log() -> None:
    timeline = Timeline()
    timeline.note("process hangs", "error", seconds=1.5, child=None, exception="Traceback ...")
    [event] = timeline
    assert (event.level, event.details) == ("error", {"seconds": "1.5", "child": "None"})
