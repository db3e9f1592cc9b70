"""Between a thread and the loop: nothing is lost, nothing waits for ever."""

import threading

import pytest

from hsrv.common.errors import ClientDisconnected
from hsrv.wsgi.bridge import QUEUE_LIMIT, Bridge


def body(size: int) -> dict[str, object]:
    return {"type": "http.response.body", "body": b"x" * size, "more_body": True}


def test_one_wake_up_serves_until_nothing_is_found() -> None:
    wakes: list[int] = []
    bridge = Bridge(lambda: wakes.append(1))
    bridge.send(body(1))
    bridge.send(body(2))
    assert len(wakes) == 1
    assert [bridge.take() is not None for _ in range(3)] == [True, True, False]
    bridge.send(body(3))
    assert len(wakes) == 2


def test_an_end_before_all_is_taken_is_no_end_yet_and_needs_no_wake_up() -> None:
    wakes: list[int] = []
    bridge = Bridge(lambda: wakes.append(1))
    bridge.send(body(1))
    bridge.end()
    assert (bridge.is_over, bridge.is_finished, len(wakes)) == (True, False, 1)
    assert bridge.take() is not None
    assert bridge.take() is None
    assert bridge.is_finished
    late = Bridge(lambda: wakes.append(1))
    assert late.take() is None
    late.end()
    assert len(wakes) == 2, "whoever has found nothing is told of the end"


def test_a_thread_waits_for_room_and_a_stop_ends_that() -> None:
    bridge = Bridge(lambda: None)
    bridge.send(body(QUEUE_LIMIT + 1))
    outcome: list[object] = []

    def say() -> None:
        for _ in range(2):
            try:
                bridge.send(body(QUEUE_LIMIT + 1))
                outcome.append("sent")
            except ClientDisconnected as error:
                outcome.append(error)

    thread = threading.Thread(target=say)
    thread.start()
    thread.join(0.05)
    assert outcome == []
    assert bridge.take() is not None
    thread.join(0.05)
    assert outcome == ["sent"]
    bridge.stop()
    thread.join(10)
    assert isinstance(outcome[1], ClientDisconnected)
    with pytest.raises(ClientDisconnected):
        bridge.send(body(1))
    assert bridge.take() is None
